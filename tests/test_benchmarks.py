"""The benchmarks measure what they say, at a tiny size."""

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from PIL import Image

from benchmarks import contenders, decoding, http, load, night, tables
from benchmarks.breakdown import Stopwatch, layers
from benchmarks.clients import Question, Tally, ask_at
from benchmarks.contenders import Contender, ours
from benchmarks.load import Load, Posts
from benchmarks.night import our_night
from benchmarks.photos import jpegs, of_one_size
from benchmarks.restarts import PICTURE, Service, reload, restart, right, under_load
from benchmarks.service import Others, memory, running, undisturbed
from benchmarks.turn import Turn, classes, take_turn
from garments.dataset import Dataset
from tests.conftest import PROJECT, free_port

LINUX = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs /proc")


def turn(rate: float, failed: int = 0) -> Turn:
    return Turn(Load(rate, p50=2, p99=9, failed=failed), memory=100, ready=0.5, others=0)


def test_python_puts_load_on_the_service(service: str, boot: bytes) -> None:
    found = load.by_python(Posts(f"{service}/predict", "image/png", [boot]), 0.5)
    assert found.failed == 0
    assert found.rate > 10
    assert 0 < found.p50 <= found.p99 < 500


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not here: install Debian's package wrk")
@pytest.mark.parametrize(("body", "all_fail"), [(b"", True), (None, False)])
def test_wrk_counts_answers_and_failures(
    body: bytes | None, all_fail: bool, service: str, boot: bytes
) -> None:
    found = load.by_wrk(
        Posts(f"{service}/predict", "image/png", [boot if body is None else body]), 1
    )
    assert found.rate > 10
    assert (found.failed > 10) == all_fail


def test_python_counts_failures(service: str) -> None:
    found = load.by_python(Posts(f"{service}/predict", "image/png", [b"", b"no picture"]), 0.2)
    assert found.failed >= load.CONNECTIONS


@pytest.mark.long
@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("form", ["body", "form", "JSON"])
def test_a_turn_checks_and_measures_the_service(form: str) -> None:
    found = take_turn(ours(form=form, pictures=1 if form == "body" else 64), 1)
    assert found.load.failed == 0
    assert found.load.rate > 1
    assert found.memory > 20
    assert found.ready > 0
    assert 0 <= found.others < 1


def test_what_others_disturb_is_measured_again() -> None:
    shares = iter([0.5, 0.06, 0.05, 0.0])
    assert undisturbed(lambda: ("found", next(shares))) == "found"
    assert list(shares) == [0.0]
    with pytest.raises(SystemExit, match="keep the machine busy"):
        undisturbed(lambda: (None, 0.06))


@LINUX
def test_what_this_process_does_is_counted_once_and_not_as_that_of_others() -> None:
    others = Others()
    before, until = others._seconds()[2], time.process_time() + 0.5
    while time.process_time() < until:
        pass
    assert 0.45 < others._seconds()[2] - before < 0.7


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_other_servers_get_as_many_workers_as_there_are_cores_and_no_access_log(
    cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "CORES", cores)
    commands = {server.name: [*map(str, server.command)] for server in contenders.servers()}
    logs = [server.variables["GARMENTS_REQUEST_LOG"] for server in contenders.servers()]
    assert logs == ["0"] * len(commands)
    for kind, option in (("gunicorn", "--workers"), ("uWSGI", "--processes")):
        command = commands[f"{kind}, {cores} workers of 8 threads"]
        assert command[command.index(option) + 1] == str(cores)


@pytest.mark.slow
def test_a_contender_that_answers_wrongly_is_not_measured() -> None:
    wrong: Contender = replace(ours(), classes=lambda answer: [0])
    with pytest.raises(SystemExit, match="answers other classes than the model"):
        take_turn(wrong, 1)


def test_a_contender_that_does_not_start_is_told_with_what_it_said() -> None:
    wrong = replace(ours(), variables={"GARMENTS_WORKERS": "two"})
    with pytest.raises(SystemExit, match=r"not ready \(exit code 2\)\n.*GARMENTS_WORKERS"):
        take_turn(wrong, 1)


def test_a_night_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"exit code 2\n(.|\n)*nowhere"):
        our_night(tmp_path / "nowhere", "http://127.0.0.1:1", tmp_path)


@pytest.mark.parametrize(
    ("module", "arguments", "told"),
    [
        ("night", ["--pictures", "10001"], "there are 10,000 test pictures: ask for no more"),
        ("night", ["--naive", "10001"], "there are 10,000 test pictures: ask for no more"),
        ("night", ["--pictures", "0"], "argument --pictures: '0' is no count: write 1 or more"),
        ("night", ["--rounds", "0"], "argument --rounds: '0' is no count: write 1 or more"),
        ("http", ["--rounds", "-1"], "argument --rounds: '-1' is no count: write 1 or more"),
    ],
)
def test_a_benchmark_refuses_a_count_that_it_cannot_use(
    module: str,
    arguments: list[str],
    told: str,
    test_set: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", [f"benchmarks.{module}", *arguments])
    monkeypatch.setattr("garments.dataset.load", lambda *_: test_set)
    with pytest.raises(SystemExit, match="2"):
        {"night": night, "http": http}[module].main()
    assert told in capsys.readouterr().err


@LINUX
def test_no_proxy_is_asked_for_a_service_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    port = free_port()
    command = [sys.executable, "-m", "http.server", port, "--bind", "127.0.0.1"]
    with running(command, f"http://127.0.0.1:{port}/README.md") as found:
        assert memory(found.pid) > 1


def test_ratios_are_medians_of_the_rounds() -> None:
    rounds = [{"A": turn(300), "B": turn(100)}, {"A": turn(400), "B": turn(100)}]
    rounds.append({"A": turn(1000), "B": turn(500)})
    assert "\n| A | 400 | 3.00 | 2.0 ms | 9.0 ms | 100 MiB | 0.5 s |\n" in tables.compared(
        rounds, "B"
    )


def test_a_row_with_a_failed_answer_is_void_and_no_measure_for_others() -> None:
    shown = tables.compared([{"A": turn(300), "B": turn(100, failed=7)}], "B")
    assert "\n| B | void: 7 failed | – | – | – | – | – |\n" in shown
    assert "\n| A | 300 | – | 2.0 ms |" in shown


def test_many_pictures_are_held_against_the_model_alone() -> None:
    shown = tables.against_alone([{"A": turn(10)}], alone=[1280.0])
    assert "\n| A | 640 | 50 % | 2 ms | 9 ms |\n" in shown


def test_the_page_has_a_place_for_every_table() -> None:
    page = (PROJECT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for name in ("peers", "many", "servers", "layers", "lines", "decoding"):
        assert page.count(f"<!-- {name} -->\n") == page.count(f"<!-- /{name} -->") == 1


def test_a_stopwatch_counts_no_second_twice() -> None:
    watch = Stopwatch()
    inner = watch.on("inner", lambda: sum(range(100_000)))
    watch.on("outer", lambda: inner() + inner())()
    assert watch.calls == {"inner": 2, "outer": 1}
    assert watch.seconds["outer"] < watch.seconds["inner"]


def test_every_layer_of_a_request_is_timed() -> None:
    found = layers(rounds=1)
    assert len(found) == 8
    assert all(0 < spent < 1e5 for spent in found.values())


def asked(answer: bytes | None) -> Tally:
    """Five questions in a tenth of a second to who always says the same, or isn't there."""
    saying = set[asyncio.Task[None] | None]()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        saying.add(asyncio.current_task())
        while answer and await reader.read(65536):
            writer.write(answer)
        writer.close()

    async def go() -> Tally:
        port = free_port()
        question = Question.of(f"http://127.0.0.1:{port}", [b"picture"])
        if answer is None:
            return await ask_at(50, 0.1, question)
        async with await asyncio.start_server(say, "127.0.0.1", port):
            tally = await ask_at(50, 0.1, question)
            await asyncio.wait(saying)
        return tally

    return asyncio.run(go())


def test_answers_are_counted_by_their_status() -> None:
    tally = asked(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\nno")
    assert str(tally) == "answers {429: 5}, lost 0, refused 0"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"no HTTP\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
)
def test_answers_that_cannot_be_read_are_lost(answer: bytes) -> None:
    tally = asked(answer)
    assert len(tally.lost) == tally.count() == 5


def test_who_is_not_there_refuses() -> None:
    tally = asked(None)
    assert tally.refused == tally.count() == 5


def test_a_question_without_a_file_left_for_its_connection_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(asyncio, "open_connection", none_left)
    tally = asked(None)
    assert len(tally.lost) == tally.count() == 5


@pytest.mark.slow
@pytest.mark.parametrize("act", [restart, reload])
def test_a_service_acted_upon_gives_the_models_answers_and_loses_none(
    act: Callable[[Service], None],
) -> None:
    for tally in under_load(act, 1):
        assert tally.lost == []
        assert right(tally, classes([PICTURE])) == tally.answers[200] > 10
        assert right(tally, [0]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("act", "refuses"), [(restart, True), (reload, False)])
def test_whoever_comes_while_nobody_listens_is_counted_as_refused(
    act: Callable[[Service], None], refuses: bool
) -> None:
    _, others = under_load(act, 1)
    assert (others.refused > 0) == refuses


@LINUX
def test_a_service_that_ends_instead_of_reloading_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with Service(PROJECT / "model") as service:
        service.start()
        monkeypatch.setattr(signal, "SIGHUP", signal.SIGKILL)
        with pytest.raises(AssertionError, match="ended with -9"):
            reload(service)


def test_photos_are_found_whatever_their_names_end_in(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.JPG", "c.jpeg", "d.png"):
        (tmp_path / name).touch()
    assert [path.name for path in jpegs(tmp_path)] == ["a.jpg", "b.JPG", "c.jpeg"]


def test_no_two_photos_of_one_source_are_alike_and_all_are_answered(
    service: str, tmp_path: Path
) -> None:
    source = tmp_path / "source.jpg"
    Image.new("RGB", (40, 60), "navy").save(source)
    photos = {of_one_size(source, number) for number in range(9)}
    assert len(photos) == 9
    files = [("image", photo) for photo in photos]
    answer = requests.post(f"{service}/predict", files=files, timeout=60).json()
    assert not [entry for entry in answer["predictions"] if "error" in entry]


@LINUX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_benchmark_that_is_told_to_stop_leaves_no_service_and_no_folder(number: int) -> None:
    port = free_port()
    program = f"""if True:
        import signal, sys, tempfile, time
        from benchmarks.ending import run
        from benchmarks.service import running
        def main():
            command = [sys.executable, "-m", "http.server", {port}, "--bind", "127.0.0.1"]
            ready = "http://127.0.0.1:{port}/README.md"
            with tempfile.TemporaryDirectory() as folder, running(command, ready) as service:
                print(service.pid, folder, flush=True)
                time.sleep(60)
        signal.signal({number:d}, signal.SIG_DFL)  # these tests may run under nohup
        run(main)
    """
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        pid, folder = process.stdout.readline().split()
        assert [Path(f"/proc/{pid}").exists(), Path(folder).exists()] == [True, True]
        process.send_signal(number)
        assert process.wait(10) == 128 + number
    assert [Path(f"/proc/{pid}").exists(), Path(folder).exists()] == [False, False]


@pytest.mark.parametrize("title", decoding.CASES)
def test_a_small_picture_is_made_and_read_for_every_one_that_is_measured(title: str) -> None:
    decoding.shaped(decoding.CASES[title]._replace(size=(64, 64)).made())


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_what_a_format_loads_is_not_counted_as_memory_of_its_picture(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(decoding.Case((64, 64), "HEIF").made())
    command = [sys.executable, "-m", "benchmarks.decoding", "--only", *[tmp_path / "small"] * 2]
    size_time_memory = subprocess.check_output(command, cwd=PROJECT, text=True).split(", ")
    assert float(size_time_memory[2].split()[0]) < 4
