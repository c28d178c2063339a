"""How the service starts, takes new models, bears too much and stops, with real processes."""

import asyncio
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests

from benchmarks.clients import Question, Tally, ask_as_twelve, ask_at, ask_for
from garments.card import version_of
from garments.settings import PROJECT, Settings, SettingsError
from garments.web import listener
from garments.web.listener import admit_nobody, listen
from garments.web.supervisor import Supervisor
from tests.conftest import MODEL, free_port, hundred, serving, until, wait_until_ready
from tests.test_server import children


def under_load(question: Question, act: Callable[[], Awaitable[None]]) -> Tally:
    """What became of the requests of twelve clients that asked while `act` went on."""

    async def go() -> Tally:
        tally, stop = Tally(), threading.Event()
        asking = asyncio.create_task(ask_as_twelve(stop, question, tally))
        await asyncio.sleep(0.3)
        await act()
        await asyncio.sleep(0.3)
        stop.set()
        await asking
        return tally

    return asyncio.run(go())


def versions(tally: Tally) -> set[str]:
    """The models that answered."""
    return {json.loads(body)["model"]["version"] for body in tally.bodies}


def workers(pid: int) -> list[str]:
    """Those children that heed no SIGTERM; another only shows that there is room for a process."""

    def deaf(child: str) -> bool:
        with suppress(OSError):  # which is gone in a moment
            status = Path(f"/proc/{child}/status").read_text()
            ignored = int(re.search(r"^SigIgn:\s*(\w+)", status, re.MULTILINE)[1], 16)
            return bool(ignored & 1 << signal.SIGTERM - 1)
        return False

    return [child for child in children(pid) if deaf(child)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of models that a test may change."""
    shutil.copytree(MODEL, tmp_path / "model" / MODEL.name)
    return tmp_path / "model"


def replace_model(folder: Path, *, right: bool) -> str:
    """Put another model in place, all at once, right or wrong; its version."""
    new = Path(shutil.copytree(MODEL, folder / ".new"))
    with (new / "model.onnx").open("ab") as file:
        file.write(b"\x32\x05other")  # its description, in a protocol buffer: of no effect
    version = version_of(new / "model.onnx")
    card = json.loads((new / "card.json").read_text())
    if not right:
        card["golden_probabilities"] = card["golden_probabilities"][::-1]
    (new / "card.json").write_text(json.dumps({**card, "version": version}))
    (folder / MODEL.name).rename(folder / ".old")
    new.rename(folder / MODEL.name)
    return version


def test_a_stop_is_told_first_and_loses_no_request(models: Path, boot: bytes) -> None:
    settings = {"GARMENTS_MODEL_DIR": str(models), "GARMENTS_DRAIN_SECONDS": "1"}
    port = free_port()
    told = []

    def first_refusal(url: str) -> requests.Response:
        while (answer := requests.get(f"{url}/ready", timeout=5)).ok:
            time.sleep(0.02)
        return answer

    async def restart_twice() -> None:
        for _ in range(2):
            with serving(port=port, **settings) as (url, process):
                await asyncio.sleep(0.2)
                process.terminate()
                told.append(await asyncio.to_thread(first_refusal, url))
                await asyncio.to_thread(process.wait, 20)

    question = Question.of(f"http://127.0.0.1:{port}", [boot])
    tally = under_load(question, restart_twice)
    assert [answer.json()["code"] for answer in told] == ["draining"] * 2
    assert [answer.headers["Connection"] for answer in told] == ["close"] * 2
    assert tally.lost == []
    assert tally.answers.keys() == {200}
    assert tally.answers[200] > 100


def test_a_stop_waits_for_what_has_begun(models: Path, boot: bytes) -> None:
    with serving(GARMENTS_MODEL_DIR=str(models)) as (url, process):
        question = Question.of(url, [boot] * 250)
        with socket.create_connection(("127.0.0.1", question.port)) as client:
            client.sendall(question.content[:-1])
            time.sleep(0.5)
            process.terminate()
            time.sleep(0.5)
            client.sendall(question.content[-1:])
            answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer
    assert answer.count(b"Ankle boot") >= 250


def test_a_stop_waits_for_a_worker_that_has_not_loaded_yet(models: Path, boot: bytes) -> None:
    port = free_port()
    question = Question.of(f"http://127.0.0.1:{port}", [boot])
    environment = {"GARMENTS_MODEL_DIR": str(models), "GARMENTS_DRAIN_SECONDS": "0"}
    command = [sys.executable, "app.py", "--port", str(port), "--workers", "2"]
    with (
        subprocess.Popen(command, cwd=PROJECT, env={**os.environ, **environment}) as process,
        ExitStack() as stack,
    ):
        stack.callback(process.kill)
        until(lambda: len(workers(process.pid)) == 2, every=0.001)
        late = int(workers(process.pid)[1])
        os.kill(late, signal.SIGSTOP)
        time.sleep(1)  # the other one serves by then
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(16)]
        for client in clients:
            stack.enter_context(client).sendall(question.content)
        time.sleep(0.3)
        process.terminate()
        time.sleep(0.3)
        os.kill(late, signal.SIGCONT)
        answers = [b"".join(iter(lambda: client.recv(65536), b"")) for client in clients]  # noqa: B023
        assert [answer[:15] for answer in answers] == [b"HTTP/1.1 200 OK"] * 16
        assert process.wait(40) == 0


def test_a_worker_that_hangs_is_replaced(models: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = {"GARMENTS_MODEL_DIR": str(models), "GARMENTS_WORKERS": "1"}
    with serving(log=log, GARMENTS_DEADLINE_SECONDS="0.5", **settings) as (url, process):
        (worker,) = children(process.pid)
        os.kill(int(worker), signal.SIGSTOP)
        until(lambda: f"worker {worker} gives no sign and is killed" in log.read_text(), within=60)
        wait_until_ready(url, process)
        assert worker not in children(process.pid)


def test_another_interrupt_does_not_wait(models: Path) -> None:
    settings = {"GARMENTS_MODEL_DIR": str(models), "GARMENTS_DRAIN_SECONDS": "600"}
    with serving(**settings) as (_, process):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            assert process.poll() is None
            process.send_signal(number)
            time.sleep(0.3)
        assert process.wait(timeout=10) == 0


def test_new_models_are_taken_without_losing_a_request(folder: Path, boot: bytes) -> None:
    old = version_of(folder / MODEL.name / "model.onnx")

    async def reload() -> None:
        new = replace_model(folder, right=True)
        process.send_signal(signal.SIGHUP)
        # All the while it is ready, with either.
        while True:
            answer = await asyncio.to_thread(requests.get, f"{url}/ready", timeout=5)
            if answer.json()["models"] == [{"name": MODEL.name, "version": new}]:
                break
        await asyncio.sleep(0.5)

    with serving(GARMENTS_MODEL_DIR=str(folder), GARMENTS_WORKERS="2") as (url, process):
        tally = under_load(Question.of(url, [boot]), reload)
        assert len(children(process.pid)) == 2
    assert tally.lost == []
    assert tally.refused == 0
    assert tally.answers.keys() == {200}
    assert versions(tally) == {old, version_of(folder / MODEL.name / "model.onnx")}


def test_new_models_leave_the_old_ones_the_time_that_a_stop_does_not(
    models: Path, boot: bytes, tmp_path: Path
) -> None:
    hurried = "from garments.web import crew\ncrew._SECONDS_TO_FINISH = 0.5\n"
    (tmp_path / "sitecustomize.py").write_text(hurried)
    log = tmp_path / "log"
    settings = {"GARMENTS_MODEL_DIR": str(models), "GARMENTS_WORKERS": "1"}
    with (
        serving(log=log, PYTHONPATH=f"{tmp_path}:{PROJECT}", **settings) as (url, process),
        ExitStack() as stack,
    ):
        (old,) = children(process.pid)
        question = Question.of(url, [boot] * 250)
        slow, slower = (
            stack.enter_context(socket.create_connection(("127.0.0.1", question.port)))
            for _ in range(2)
        )
        slow.sendall(question.content[:-1])
        slower.sendall(question.content[:-1])
        process.send_signal(signal.SIGHUP)
        until(lambda: "new models are served" in log.read_text())
        time.sleep(1)
        slow.sendall(question.content[-1:])
        answer = b"".join(iter(lambda: slow.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert old in children(process.pid)
        process.terminate()
        assert process.wait(10) == 0
    assert f"worker {old} did not finish in time and is killed" in log.read_text()


def test_wrong_models_are_refused_and_the_old_ones_stay(folder: Path, boot: bytes) -> None:
    old = version_of(folder / MODEL.name / "model.onnx")
    log = folder / "log"

    async def reload() -> None:
        replace_model(folder, right=False)
        process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(until, lambda: "old ones stay" in log.read_text())
        # Neither does a worker take them that starts later.
        for worker in children(process.pid):
            os.kill(int(worker), signal.SIGKILL)
        await asyncio.sleep(0.2)

    with serving(GARMENTS_MODEL_DIR=str(folder), log=log) as (url, process):
        tally = under_load(Question.of(url, [boot]), reload)
        answer = requests.get(f"{url}/ready", timeout=5)
    assert "does not give its golden answer" in log.read_text()
    assert answer.json()["models"] == [{"name": MODEL.name, "version": old}]
    assert versions(tally) == {old}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / MODEL.name / "card.json").write_text("{"),
        # Nobody can look into it, not even root, whom no permission keeps out.
        lambda folder: (folder / "other").symlink_to("x" * 300),
    ],
    ids=["card", "folder"],
)
def test_a_folder_that_cannot_be_read_is_refused_too(
    spoil: Callable[[Path], object], folder: Path
) -> None:
    log = folder / "log"
    with serving(GARMENTS_MODEL_DIR=str(folder), log=log) as (url, process):
        spoil(folder)
        for times in (1, 2):
            process.send_signal(signal.SIGHUP)
            until(lambda times=times: log.read_text().count("old ones stay") == times)
        assert requests.get(f"{url}/ready", timeout=5).ok


def test_no_model_for_photos_that_is_served_goes_without_a_word(folder: Path) -> None:
    log, photo = folder / "log", folder / "photo"
    photo.symlink_to(PROJECT / "model" / "photo")
    with serving(GARMENTS_MODEL_DIR=str(folder), log=log) as (url, process):
        before = requests.get(f"{url}/ready", timeout=5).json()["models"]
        photo.unlink()
        process.send_signal(signal.SIGHUP)
        until(lambda: "old ones stay" in log.read_text())
        assert "photo/card.json does not exist" in log.read_text()
        assert requests.get(f"{url}/ready", timeout=5).json()["models"] == before
    assert [model["name"] for model in before] == [MODEL.name, "photo"]


def test_a_service_that_can_start_no_process_keeps_what_it_has_and_tries_again(
    models: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    settings = {"GARMENTS_MODEL_DIR": str(models), "GARMENTS_WORKERS": "1"}
    with serving(log=log, **settings) as (url, process):
        soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        taken = {int(path.name) for path in Path(f"/proc/{process.pid}/fd").iterdir()}
        # Enough to read a model, and too little for a pipe.
        room_for_one = sorted(set(range(soft)) - taken)[1]
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (room_for_one, hard))
        process.send_signal(signal.SIGHUP)
        until(lambda: "old ones stay: a worker cannot be started" in log.read_text())
        assert requests.get(f"{url}/ready", timeout=5).ok
        os.kill(int(children(process.pid)[0]), signal.SIGKILL)
        until(lambda: "cannot be started, and is tried again" in log.read_text())
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        wait_until_ready(url, process)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_to_be_refused_a_process_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise BlockingIOError

    (listening,) = listen("127.0.0.1", free_port(), 1)
    supervisor = Supervisor(Settings(), [listening])
    supervisor._folder = tmp_path
    monkeypatch.setattr(os, "fork", refuse)
    with listening, supervisor._wake, supervisor._waker:
        before = os.listdir("/proc/self/fd")
        with pytest.raises(BlockingIOError):
            supervisor._start(supervisor._now)
        assert os.listdir("/proc/self/fd") == before


def test_slow_and_silent_clients_starve_nobody(service: str, boot: bytes) -> None:
    host, port = "127.0.0.1", int(service.rpartition(":")[2])
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"

    async def dribble(start: bytes, rest: bytes) -> None:
        with socket.create_connection((host, port)) as client:
            client.sendall(start)
            for byte in rest:
                await asyncio.sleep(0.3)
                client.send(bytes([byte]))
            await asyncio.sleep(60)

    async def go() -> Tally:
        question = Question.of(service, [boot])
        slow = [dribble(b"", head) for _ in range(70)]
        slow += [dribble(head + b"Content-Length: 394\r\n\r\n", boot) for _ in range(70)]
        slow += [dribble(head + b"Content-Length: 99999\r\n\r\n", boot) for _ in range(30)]
        slow += [dribble(b"", b"") for _ in range(30)]
        tasks = [asyncio.create_task(each) for each in slow]
        await asyncio.sleep(0.5)
        tally = await ask_for(1, question, 4)
        assert not [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return tally

    tally = asyncio.run(go())
    assert tally.answers.keys() == {200}
    assert not tally.lost
    assert tally.p99() < 1


def test_a_body_that_comes_too_slowly_is_given_up(models: Path, boot: bytes) -> None:
    settings = {"GARMENTS_MODEL_DIR": str(models), "GARMENTS_BODY_SECONDS": "0.3"}
    with serving(**settings) as (url, _):
        for length in (394, 99999):
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
                head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
                client.sendall(head.encode() + boot[:100])
                client.settimeout(5)
                answer = b"".join(iter(lambda: client.recv(65536), b""))  # until it is closed
            assert answer.startswith(b"HTTP/1.1 408 "), length
            assert b'"code":"slow_request"' in answer, length
            assert requests.get(f"{url}/ready", timeout=5).ok, length


@pytest.mark.long
@pytest.mark.slow
def test_too_much_is_refused_and_leaves_no_trace(models: Path) -> None:
    pictures = [path.read_bytes() for path in hundred()[:32]]
    limits = {"GARMENTS_MAX_QUEUE": "8", "GARMENTS_DEADLINE_SECONDS": "3"}
    with serving(GARMENTS_MODEL_DIR=str(models), **limits) as (url, _):
        question = Question.of(url, pictures)
        capacity = len(asyncio.run(ask_for(2, question, 8)).seconds) / 2
        tally = asyncio.run(ask_at(4 * capacity, 5, question))
        after = asyncio.run(ask_for(1, question))
    assert tally.answers.keys() == {200, 429}
    assert not tally.lost
    assert tally.answers[200] > capacity * 5 / 4
    assert max(tally.seconds) < 4
    assert after.answers.keys() == {200}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can refuse what is not there yet")
def test_a_listener_that_admits_nobody_keeps_those_who_are_there() -> None:
    (listener,) = listen("127.0.0.1", free_port(), 1)
    with listener, socket.create_connection(listener.getsockname()) as first:
        admit_nobody(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(listener.getsockname(), timeout=0.2)
        first.sendall(b"still here")
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.recv(100) == b"still here"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has sockets share a port evenly")
def test_of_services_that_start_at_the_same_moment_one_gets_the_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "_SECONDS_OF_A_TURN", 0.1)
    listening = listener._listening

    def at_the_same_moment(host: str, port: int) -> socket.socket:
        monkeypatch.setattr(listener, "_listening", listening)
        for other in (host, "0.0.0.0"):
            with pytest.raises(SettingsError, match="cannot listen"):
                listen(other, port, 1)
        return listening(host, port)

    monkeypatch.setattr(listener, "_listening", at_the_same_moment)
    for each in listen("127.0.0.1", free_port(), 2):
        each.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives up who takes nothing")
def test_a_client_that_never_takes_its_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 10_000 <= listener._MILLISECONDS_TO_TAKE <= 60_000
    monkeypatch.setattr(listener, "_MILLISECONDS_TO_TAKE", 500)
    (listening,) = listen("127.0.0.1", free_port(), 1)
    with listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        accepted.setblocking(False)
        with accepted, pytest.raises(TimeoutError):  # as the kernel tells it
            until(lambda: not sent(accepted), every=0.1)


def sent(connection: socket.socket) -> bool:
    """Send as much as goes without waiting; raise TimeoutError once the connection is given up."""
    with suppress(BlockingIOError):
        while True:
            connection.send(bytes(65536))
    return True


def test_workers_end_when_their_supervisor_is_killed(models: Path) -> None:
    with serving(GARMENTS_MODEL_DIR=str(models)) as (_, process):
        workers = children(process.pid)
        assert workers
        process.kill()
        until(lambda: not [pid for pid in workers if Path(f"/proc/{pid}/exe").exists()])
        process.returncode = 0  # serving() wants a service that ended well
