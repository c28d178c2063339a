"""Start a service in processes of its own, wait until it is ready, weigh it, and stop it."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from garments.settings import PROJECT

_SECONDS_TO_START = 60
_SECONDS_TO_STOP = 20


@dataclass(frozen=True)
class Running:
    """A service that is ready, and the seconds from its start until it was."""

    pid: int
    seconds: float


@contextmanager
def running(command: Sequence[object], ready: str, **variables: str) -> Iterator[Running]:
    """Run `command` from the project's folder until the URL `ready` answers; end it at last.

    Raises SystemExit where it ends by itself or is not ready within a minute.
    """
    started = time.perf_counter()
    with subprocess.Popen(
        [*map(str, command)],
        cwd=PROJECT,
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            _wait_until(ready, process, started + _SECONDS_TO_START)
            yield Running(process.pid, time.perf_counter() - started)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_STOP)
            with suppress(ProcessLookupError):  # workers that outlive the first process
                os.killpg(process.pid, signal.SIGKILL)


def _wait_until(ready: str, process: subprocess.Popen[bytes], deadline: float) -> None:
    while process.poll() is None and time.perf_counter() < deadline:
        with suppress(requests.RequestException):
            if requests.get(ready, timeout=5).ok:
                return
        time.sleep(0.02)
    raise SystemExit(f"{process.args!r}: not ready (exit code {process.poll()})")


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def memory(pid: int) -> float:
    """MiB that a process and its descendants hold; what they share counts once (Linux)."""
    folder = Path(f"/proc/{pid}")
    used = re.search(r"^Pss: +(\d+)", (folder / "smaps_rollup").read_text(), re.MULTILINE)
    assert used
    children = [
        int(child)
        for thread in (folder / "task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return int(used[1]) / 1024 + sum(map(memory, children))
