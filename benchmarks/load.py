"""Load on a service: requests from kept-alive connections, each sent when the last is answered."""

import http.client
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

CONNECTIONS = 16
_SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True)
class Posts:
    """What is posted: each of `bodies` in turn."""

    url: str
    content_type: str
    bodies: Sequence[bytes]


@dataclass(frozen=True)
class Load:
    """Answers a second, and the milliseconds within which half and 99 % of them came.

    `failed` counts statuses from 400 on, broken connections and time-outs.
    """

    rate: float
    p50: float
    p99: float
    failed: int


def generator() -> str:
    """What `load` puts the load on with."""
    return "wrk" if shutil.which("wrk") else "Python"


def load(posts: Posts, seconds: float) -> Load:
    """Put load on a service, by wrk or, where it is missing, by Python."""
    return (by_wrk if generator() == "wrk" else by_python)(posts, seconds)


def by_wrk(posts: Posts, seconds: float) -> Load:
    """Load from one thread of wrk, which takes next to nothing of the machine."""
    with tempfile.TemporaryDirectory() as folder:
        for number, body in enumerate(posts.bodies):
            (Path(folder) / str(number)).write_bytes(body)
        options = f"-t1 -c{CONNECTIONS} -d{max(1, round(seconds))}s --timeout 10s -s".split()
        arguments = [folder, str(len(posts.bodies)), posts.content_type]
        printed = subprocess.run(
            ["wrk", *options, _SCRIPT, posts.url, "--", *arguments],  # noqa: S607
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    line = next(line for line in printed.splitlines() if line.startswith("measured"))
    answered, duration, failed, p50, p99 = map(float, line.split()[1:])
    return Load(answered / duration * 1e6, p50 / 1e3, p99 / 1e3, int(failed))


def by_python(posts: Posts, seconds: float) -> Load:
    """Load from threads of this process, which take a good part of a core."""
    waits: list[float] = []
    failures: list[None] = []
    started = time.perf_counter()

    def connection(first: int) -> None:
        address = urlsplit(posts.url)
        target = http.client.HTTPConnection(address.netloc, timeout=10)
        for body in islice(cycle(posts.bodies), first, None):
            sent = time.perf_counter()
            if sent > started + seconds:
                break
            try:
                target.request("POST", address.path, body, {"Content-Type": posts.content_type})
                answer = target.getresponse()
                answer.read()
                if answer.status >= 400:
                    failures.append(None)
            except (OSError, http.client.HTTPException):
                failures.append(None)
                target.close()
            waits.append(time.perf_counter() - sent)
        target.close()

    threads = [threading.Thread(target=connection, args=(n,)) for n in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - started
    p50, p99 = 1e3 * np.percentile(waits, (50, 99))
    return Load(len(waits) / spent, float(p50), float(p99), len(failures))
