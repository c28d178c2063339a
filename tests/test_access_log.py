"""What the service tells of requests: lines, ids, and numbers."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from select import PIPE_BUF
from types import SimpleNamespace

import pytest
import requests
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from garments.settings import Settings
from garments.web import create_app
from garments.web.access_log import AccessLog, RequestRecord, _second
from garments.web.metrics import Metrics, own_folder
from tests.conftest import serving, until, wait_until_ready
from tests.test_server import children
from tests.test_web import form

MakeClient = Callable[..., FlaskClient]


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """The lines of the log."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def numbers(page: str) -> dict[str, float]:
    """Samples by name and labels, as a Prometheus reads them."""
    return {
        sample.name + "".join(f",{key}={value}" for key, value in sorted(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_each_request_is_one_line_of_json(
    client: FlaskClient,
    boot: bytes,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = {"time": lambda: 1_000_000_000.1234, "perf_counter": count(100, 0.25).__next__}
    monkeypatch.setattr("garments.web.access_log.time", SimpleNamespace(**{**vars(time), **clock}))
    script = b"#!/bin/sh"
    sent = form(("a", boot, "a"), ("b", script, "b"), ("c", b"", "c"), ("d", script, "d"))
    headers = {"X-Request-ID": "night-7/1"}
    answer = client.post("/predict", **sent, headers=headers, buffered=True)
    (line,) = lines(capsys)
    assert line.pop("received") == len(sent["data"])
    assert line.pop("sent") == len(answer.data)
    assert str(line.pop("model")).startswith("fashion-mnist@")
    assert line == {
        "time": "2001-09-09T01:46:40.123Z",
        "ms": 250.0,
        "id": "night-7/1",
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/predict",
        "status": 200,
        "pictures": 4,
        "refused": ["empty_image", "unsupported_type"],
    }


def test_the_log_tells_the_time_of_greenwich_wherever_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "AEST-10")
        time.tzset()
        told = _second.__wrapped__(1_000_000_000)
    time.tzset()
    assert told == "2001-09-09T01:46:40"


def test_the_log_can_be_turned_off(
    make_client: MakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    make_client(request_log=0).get("/health", buffered=True)
    assert lines(capsys) == []


def test_lines_reach_a_pipe_in_pieces_that_other_workers_cannot_tear(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    class Pipe(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, piece: memoryview) -> int:
            written.append(bytes(piece))
            return len(piece)

    stream = io.TextIOWrapper(io.BufferedWriter(Pipe()), line_buffering=True)
    monkeypatch.setattr("garments.web.access_log.sys.stderr", stream)
    access_log = AccessLog(Metrics(), log=True, later=lambda _: None)
    client = create_app(Settings(model_dir=models), access_log=access_log).test_client()
    for number in range(100):
        client.get("/" + "日" * number, buffered=True)
    access_log.flush()
    assert 1 < len(written) < 50
    for piece in written:
        assert len(piece) <= PIPE_BUF
        assert piece.endswith(b"\n")
    assert len([json.loads(line) for line in b"".join(written).splitlines()]) == 100


def test_a_log_that_nobody_reads_any_more_fails_no_request(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("garments.web.access_log.sys.stderr", SimpleNamespace(write=broken))
    assert client.get("/health", buffered=True).status_code == 200


def test_an_id_is_given_back_or_made(client: FlaskClient) -> None:
    given = client.get("/health", headers={"X-Request-ID": "a-b.c:1"})
    assert given.headers["X-Request-ID"] == "a-b.c:1"
    made = {client.get("/nothing").headers["X-Request-ID"] for _ in range(2)}
    assert len(made) == 2
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in made)


@pytest.mark.parametrize("given", ["", " ", "a b", '"}', "a\tb", "é", "x" * 129, "a,b"])
def test_an_id_that_could_break_a_line_is_replaced(client: FlaskClient, given: str) -> None:
    answer = client.get("/health", environ_overrides={"HTTP_X_REQUEST_ID": given})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])


def test_a_path_breaks_no_line(client: FlaskClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.get('/%0A{"level": "forged"}' + "x" * 999, buffered=True)
    (line,) = lines(capsys)
    assert str(line["path"]).startswith('/\n{"level": "forged"}')
    assert len(str(line["path"])) == 200


def test_a_line_of_a_long_method_and_path_fits_into_a_pipe(
    client: FlaskClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.open("/" + "😀" * 999, method="X" * 9999, buffered=True)
    (line,) = capsys.readouterr().err.splitlines(keepends=True)
    assert json.loads(line)["method"] == "X" * 20
    assert len(line) <= PIPE_BUF


def test_numbers_tell_requests_predictions_and_rejections(client: FlaskClient, boot: bytes) -> None:
    version = client.get("/ready").json["models"][0]["version"]
    sent = form(("a", boot, "a"), ("b", boot, "b"), ("c", b"x", "c"))
    client.post("/predict", **sent, buffered=True)
    client.post("/predict", data=b"x", content_type="text/plain", buffered=True)
    client.get("/nothing/here", buffered=True)
    answer = client.get("/metrics")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    found = numbers(answer.text)
    model = f"model=fashion-mnist,version={version}"
    assert found["garments_requests_total,code=200,endpoint=/predict"] == 1
    assert found["garments_requests_total,code=415,endpoint=/predict"] == 1
    assert found["garments_requests_total,code=404,endpoint=other"] == 1
    assert found["garments_request_seconds_count,endpoint=/predict"] == 2
    assert found["garments_request_pictures_sum"] == 3
    assert found[f"garments_predictions_total,decision=accept,label=Ankle boot,{model}"] == 2
    assert found["garments_rejections_total,reason=unsupported_type"] == 1
    assert found["garments_rejections_total,reason=unsupported_media_type"] == 1
    assert 0 < found[f"garments_model_load_seconds,{model}"] < 60
    assert found["garments_queue_depth"] == 0


def test_numbers_tell_of_what_is_asked_by_the_protocol_of_inference_too(
    client: FlaskClient,
) -> None:
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [2, 28, 28, 1], "data": [0] * 1568}
    client.post("/v2/models/fashion-mnist/infer", json={"inputs": [tensor]}, buffered=True)
    found = numbers(client.get("/metrics").text)
    assert found["garments_request_pictures_sum"] == 2
    told = [value for name, value in found.items() if name.startswith("garments_predictions_total")]
    assert told == [2]


def test_a_picture_alone_is_counted_though_it_is_bad(
    client: FlaskClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.post("/predict", data=b"x", content_type="image/png", buffered=True)
    (line,) = lines(capsys)
    assert (line["pictures"], line["refused"]) == (1, ["unsupported_type"])
    images = {"name": "images", "datatype": "BYTES", "shape": [2], "data": ["eA==", "eA=="]}
    client.post("/v2/models/fashion-mnist/infer", json={"inputs": [images]}, buffered=True)
    found = numbers(client.get("/metrics").text)
    assert found["garments_request_pictures_count"] == 2
    assert found["garments_request_pictures_sum"] == 3


def test_pictures_whose_answer_came_too_late_are_counted() -> None:
    record = RequestRecord("POST", "/predict", "127.0.0.1", None)
    record.pictures = 3
    assert record.as_refused("/predict").pictures == 3


def test_under_another_server_the_log_tells_how_much_was_sent_too(
    client: FlaskClient, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = client.get("/ready", buffered=True)
    client.head("/ready", buffered=True)
    assert [line["sent"] for line in lines(capsys)] == [len(answer.data), 0]


def test_the_page_of_numbers_tells_of_every_request_before_it(models: Path) -> None:
    access_log = AccessLog(Metrics(), log=False, later=lambda _: None)
    client = create_app(Settings(model_dir=models), access_log=access_log).test_client()
    client.get("/health", buffered=True)
    found = numbers(client.get("/metrics").text)
    assert found["garments_requests_total,code=200,endpoint=/health"] == 1


def test_what_the_token_keeps_out_is_counted_as_what_was_asked(make_client: MakeClient) -> None:
    client = make_client(api_token="secret")
    assert client.post("/predict", buffered=True).status_code == 401
    page = client.get("/metrics", headers={"Authorization": "Bearer secret"}).text
    assert numbers(page)["garments_requests_total,code=401,endpoint=/predict"] == 1


def test_numbers_need_the_token(make_client: MakeClient) -> None:
    client = make_client(api_token="secret")
    assert client.get("/metrics").status_code == 401
    token = {"Authorization": "Bearer secret"}
    assert client.get("/metrics", headers=token).status_code == 200


def test_numbers_are_of_all_workers_and_survive_them(models: Path, boot: bytes) -> None:
    settings = {"GARMENTS_MODEL_DIR": str(models), "GARMENTS_WORKERS": "3"}
    with serving(**settings) as (url, process):

        def ask_twenty_times() -> None:  # each on a connection, and so a worker, of its own
            for _ in range(20):
                requests.post(
                    f"{url}/predict", data=boot, headers={"Content-Type": "image/png"}, timeout=5
                )

        def answered_and_waiting() -> tuple[float, float]:
            found = numbers(requests.get(f"{url}/metrics", timeout=5).text)
            answered = found["garments_requests_total,code=200,endpoint=/predict"]
            return answered, found["garments_queue_depth"]

        ask_twenty_times()
        until(lambda: answered_and_waiting() == (20, 0))
        killed = children(process.pid)[:2]
        for worker in killed:
            os.kill(int(worker), signal.SIGKILL)
        until(lambda: len({*children(process.pid)} - {*killed}) == 3)
        ask_twenty_times()
        until(lambda: answered_and_waiting() == (40, 0))
        (files,) = {Path(link).parent for link in mapped(children(process.pid)[0])}
        assert len(list(files.iterdir())) <= 4 * 3
    assert not files.exists()


def test_a_service_whose_numbers_are_cleared_away_replaces_workers_and_models(
    models: Path,
) -> None:
    settings = {"GARMENTS_MODEL_DIR": str(models), "GARMENTS_WORKERS": "1"}
    with serving(**settings) as (url, process):
        for act in (
            lambda worker: os.kill(int(worker), signal.SIGKILL),
            lambda _: process.send_signal(signal.SIGHUP),
        ):
            (worker,) = children(process.pid)
            shutil.rmtree(Path(mapped(worker)[0]).parent)
            act(worker)
            until(lambda worker=worker: worker not in children(process.pid))
            wait_until_ready(url, process)
            assert "garments_requests_total" in requests.get(f"{url}/metrics", timeout=5).text


def test_the_numbers_of_services_that_were_killed_are_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.web.metrics.os.access", lambda *_: False)  # no /dev/shm
    monkeypatch.setattr("garments.web.metrics.tempfile.tempdir", str(tmp_path))
    with subprocess.Popen(["true"]) as gone:
        pass
    # The id of a process says nothing elsewhere, as in a container that shares /dev/shm.
    here = re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))
    killed = f"garments-{here}-{gone.pid}-a"
    others = {
        f"garments-{here}-{os.getppid()}-b",
        f"garments-{here}-photos-c",
        f"garments-{int(here) + 1}-{gone.pid}-d",
    }
    for name in (killed, *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "counter.db").touch()
    own = own_folder()
    assert own.name.startswith(f"garments-{here}-{os.getpid()}-")
    assert {path.name for path in tmp_path.iterdir()} == {own.name, *others}


def mapped(pid: str) -> list[str]:
    return re.findall(r"/\S+garments-\S+\.db$", Path(f"/proc/{pid}/maps").read_text(), re.MULTILINE)
