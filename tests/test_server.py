import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from garments.web import server
from tests.conftest import PROJECT, free_port, script, serving, until, wait_until_ready

SERVER = [sys.executable, "app.py"]
PNG = {"Content-Type": "image/png"}


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is over at the end, whatever it came to."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=PROJECT, **quiet) as process:
        try:
            yield process
        finally:
            process.kill()


def refused(*arguments: str, **environment: str) -> str:
    """Start the service where it must not start; what it says."""
    done = script("app.py", *arguments, **environment)
    assert done.returncode == 2
    return done.stderr


@pytest.mark.figures
def test_the_service_is_ready_in_under_two_seconds() -> None:
    times = []
    for _ in range(3):
        started = time.monotonic()
        with serving():
            times.append(time.monotonic() - started)
    print(f"\nready after {sorted(times)[1]:.2f} s, the median of {len(times)}")
    assert sorted(times)[1] < 2


@pytest.mark.parametrize(
    "as_sent", [bytes, lambda boot: iter([boot[:50], boot[50:]])], ids=["whole", "without a length"]
)
def test_a_picture_goes_through_the_real_server(as_sent, service: str, boot: bytes) -> None:
    body = as_sent(boot)
    response = requests.post(f"{service}/predict", data=body, headers=PNG, timeout=5)
    assert response.json()["predictions"][0]["label"] == "Ankle boot"


def test_there_is_a_worker_for_each_core_that_the_service_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server.os, "sched_getaffinity", lambda _: {3, 5, 6}, raising=False)
    monkeypatch.setattr(server.os, "cpu_count", lambda: 64)
    assert server._cores() == 3
    monkeypatch.delattr(server.os, "sched_getaffinity")  # which only Linux has
    assert server._cores() == 64


@pytest.mark.figures
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")
def test_each_worker_is_a_process_and_none_loads_tensorflow(boot: bytes) -> None:
    with serving(GARMENTS_WORKERS="2") as (url, process):
        for _ in range(15):
            requests.post(f"{url}/predict", files=[("f", boot)] * 64, timeout=5)
        workers = children(process.pid)
        folders = [Path(f"/proc/{pid}") for pid in (process.pid, *workers)]
        loaded = [(folder / "maps").read_text() for folder in folders]
        shares = [(folder / "smaps_rollup").read_text() for folder in folders]
    assert len(workers) == 2
    assert not [maps for maps in loaded if "tensorflow" in maps]
    used = sum(int(re.search(r"^Pss: +(\d+)", share, re.MULTILINE)[1]) for share in shares)
    print(f"\nthe service with two workers uses {used / 1024:.0f} MiB")
    assert used < 400 * 1024


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_open_address_needs_a_token(host: str) -> None:
    assert "set GARMENTS_API_TOKEN" in refused("--host", host)


def test_a_service_that_could_never_take_its_largest_request_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GARMENTS_MAX_REQUEST_BYTES", "500000000")
    assert "could never be taken with a GARMENTS_MAX_QUEUE_BYTES of 268,435,456" in refused()


def test_a_name_is_an_address_too() -> None:
    with serving("--host", "localhost") as (url, _):
        assert requests.get(f"{url}/ready", timeout=5).ok
    assert "is no address to listen on" in refused("--host", "no.such.host.invalid")


def test_a_port_that_is_taken_is_told(service: str) -> None:
    port = service.rpartition(":")[2]
    assert f"cannot listen on 127.0.0.1:{port}" in refused("--port", port)


def test_a_wrong_setting_is_told() -> None:
    assert "did you mean GARMENTS_WORKERS" in refused(GARMENTS_WORKER="2")
    assert "GARMENTS_PORT, or --port, is 0: it must be" in refused("--port", "0")
    assert "GARMENTS_WORKERS, or --workers, is -1: it must be" in refused("--workers", "-1")


def test_a_worker_that_dies_is_replaced() -> None:
    with serving(GARMENTS_WORKERS="1") as (url, process):
        (worker,) = children(process.pid)
        os.kill(int(worker), 9)
        until(lambda: children(process.pid) not in ([], [worker]))
        wait_until_ready(url, process)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize(
    "start",
    ['exec "$@" >/dev/full 2>&1', 'exec "$@" >&- 2>&-', 'trap "" CHLD; exec "$@"'],
    ids=["to a full disk", "to nowhere", "by who ignores its children"],
)
def test_a_service_serves_and_replaces_its_workers_however_it_was_started(
    start: str, boot: bytes
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [*SERVER, "--port", str(port), "--workers", "1"]
    with started("sh", "-c", start, "sh", *command) as process:
        for _ in range(2):
            wait_until_ready(url, process)
            assert requests.post(f"{url}/predict", data=boot, headers=PNG, timeout=5).ok
            assert requests.get(f"{url}/metrics", timeout=5).ok  # tells of what came just before
            (worker,) = children(process.pid)
            os.kill(int(worker), signal.SIGKILL)
        wait_until_ready(url, process)
        process.terminate()
        assert process.wait(timeout=40) == 0


def test_flask_run_serves_the_same_app(boot: bytes) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with started(sys.executable, "-m", "flask", "run", "--port", str(port)) as process:
        wait_until_ready(url, process)
        answer = requests.post(f"{url}/predict", data=boot, headers=PNG, timeout=5)
        assert answer.json()["predictions"][0]["label"] == "Ankle boot"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_whoever_asks_for_new_models_while_it_starts_does_not_end_the_service() -> None:
    port = free_port()
    with started(*SERVER, "--port", str(port)) as process:
        while "numpy" not in Path(f"/proc/{process.pid}/maps").read_text():
            assert process.poll() is None
            time.sleep(0.001)
        # It still imports the rest.
        for _ in range(40):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        process.terminate()
        assert process.wait(timeout=40) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.3, 0.4, 0.5, 0.7])
def test_a_signal_to_stop_is_obeyed_at_any_moment_of_the_start(seconds: float) -> None:
    with started(*SERVER, "--port", str(free_port())) as process:
        time.sleep(seconds)
        workers = children(process.pid)
        process.terminate()
        assert process.wait(timeout=40) in (0, -signal.SIGTERM)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
