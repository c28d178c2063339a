"""Start a service in processes of its own, wait until it is ready, weigh it, and stop it."""

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import requests

from garments.settings import PROJECT

_AFFINITY = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
CORES = len(_AFFINITY) or os.cpu_count() or 1
_SECONDS_TO_START = 60
_SECONDS_TO_STOP = 20
_MOST_OF_OTHERS = 0.05  # of all cores
_TRIES = 5
_MOST_TOLD = 2_000  # characters of what a process said before it failed

T = TypeVar("T")


@dataclass(frozen=True)
class Running:
    """A service that is ready, and the seconds from its start until it was."""

    process: subprocess.Popen[bytes]
    seconds: float

    @property
    def pid(self) -> int:
        """The process that was started; it may have others."""
        return self.process.pid


@contextmanager
def running(command: Sequence[object], ready: str, **variables: str) -> Iterator[Running]:
    """Run `command` from the project's folder until the URL `ready` answers; end it at last.

    Raises SystemExit, with the end of what it said, where it ends by itself or is not ready within
    a minute.
    """
    started = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said,
        subprocess.Popen(
            [*map(str, command)],
            cwd=PROJECT,
            env={**os.environ, **variables},
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        ) as process,
    ):
        try:
            if not _is_ready(ready, process, started + _SECONDS_TO_START):
                said.seek(0)
                raise failure(process.args, f"not ready (exit code {process.poll()})", said.read())
            yield Running(process, time.perf_counter() - started)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_STOP)
            with suppress(ProcessLookupError):  # workers that outlive the first process
                os.killpg(process.pid, signal.SIGKILL)


def _is_ready(ready: str, process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait until it is, it ends, or so late."""
    while process.poll() is None and time.perf_counter() < deadline:
        with suppress(requests.RequestException), session() as direct:
            if direct.get(ready, timeout=5).ok:
                return True
        time.sleep(0.02)
    return False


def session() -> requests.Session:
    """What asks a service on this machine, whatever proxy the environment names for others."""
    direct = requests.Session()
    direct.trust_env = False
    return direct


def failure(command: object, what: str, said: str) -> SystemExit:
    """What ends a benchmark whose process failed: what it was, and the end of what it said."""
    return SystemExit(f"{command!r}: {what}\n{said[-_MOST_TOLD:].strip()}".strip())


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def family(pid: int) -> list[int]:
    """A process and its descendants (Linux), but for those that end meanwhile."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found


def memory(pid: int) -> float:
    """MiB that a process and its descendants hold; what they share counts once."""
    kilobytes = 0
    for one in family(pid):
        with suppress(OSError):  # it has ended
            told = Path(f"/proc/{one}/smaps_rollup").read_text()
            used = re.search(r"^Pss: +(\d+)", told, re.MULTILINE)
            assert used
            kilobytes += int(used[1])
    return kilobytes / 1024


class Others:
    """How much of the machine goes to programs that are neither the service nor its load.

    The service is the process `pid` and its descendants; without it only this process has some.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid or os.getpid()
        self._before = self._seconds()

    def share(self) -> float:
        """Their part of all cores' time since this object was made; the hypervisor's too."""
        before, now = self._before, self._seconds()
        busy, idle, ours = (after - then for then, after in zip(before, now, strict=True))
        return max(0.0, busy - ours) / (busy + idle)

    def _seconds(self) -> tuple[float, float, float]:
        """Busy and idle seconds of the cores that may be used; the busy ones of the measurement."""
        ticks = os.sysconf("SC_CLK_TCK")
        names = {f"cpu{number}" for number in _AFFINITY}
        lines = map(str.split, Path("/proc/stat").read_text().splitlines())
        cores = [map(int, line[1:9]) for line in lines if line[0] in names]
        user, nice, system, idle, waiting, *rest = map(sum, zip(*cores, strict=True))
        # In the line of a process its name may hold anything, but ends with the last bracket.
        stats = [
            Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            for one in family(self._pid)
            if one != os.getpid()
        ]
        served = sum(int(stat[11]) + int(stat[12]) for stat in stats)
        own = sum(os.times()[:4])  # this process and the load generators that it waited for
        busy = user + nice + system + sum(rest)
        return busy / ticks, (idle + waiting) / ticks, served / ticks + own


def beside(measure: Callable[[], T], pid: int | None = None) -> tuple[T, float]:
    """What `measure` gives, and the part of the machine that others took meanwhile."""
    others = Others(pid)
    return measure(), others.share()


def undisturbed(measure: Callable[[], tuple[T, float]]) -> T:
    """What `measure` gives with the part of others, again until this is small.

    Raises SystemExit where it never is.
    """
    for _ in range(_TRIES):
        found, others = measure()
        if others <= _MOST_OF_OTHERS:
            return found
        print(f"others took {others:.0%} of the machine: once more", flush=True)
    raise SystemExit("other programs keep the machine busy: no figure would mean anything")
