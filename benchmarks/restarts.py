"""Restarts and new models under load, counting every request; `make bench-restarts`."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.clients import Question, Tally, ask_anew_until, ask_as_twelve
from benchmarks.counts import at_least_one
from benchmarks.ending import run
from benchmarks.service import family, free_port, running
from benchmarks.turn import classes
from garments.settings import PROJECT

MODEL = "fashion-mnist"
PICTURE = PROJECT / "images" / "image_0_label_9.png"
_SECONDS_TO_RELOAD = 60
_EVERY = 0.02  # seconds, in which one more client comes


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.restarts", description=__doc__)
    parser.add_argument("--times", type=at_least_one, default=200)
    given = parser.parse_args(arguments)
    for name, act in (("restarts", restart), ("reloads", reload)):
        started = time.perf_counter()
        tally, others = under_load(act, given.times)
        seconds = time.perf_counter() - started
        print(f"{given.times} {name} in {seconds:.0f} s: {tally},")
        print(f"  {right(tally, classes([PICTURE]))} of the answers are the model's own", end=", ")
        print(f"p99 {tally.p99() * 1000:.0f} ms")
        each = others.refused * _EVERY / given.times
        print(f"  a client more every {_EVERY} s: {others}, which is {each:.1f} s of each")


def right(tally: Tally, expected: list[int]) -> int:
    """How many answers have the classes that are expected."""
    return sum(
        count
        for body, count in tally.bodies.items()
        if [row["prediction"] for row in json.loads(body)["predictions"]] == expected
    )


def under_load(act: Callable[[Service], None], times: int) -> tuple[Tally, Tally]:
    """What became of the requests while the service was acted upon.

    First those of twelve clients, which wait until they are answered, and so hardly come while
    nobody listens; then those of clients that come at a fixed rate.
    """
    # The clients have the thread: so a signal, which the main one gets, interrupts no start or
    # stop that nobody would see to the end.
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        models = Path(folder) / "model"
        shutil.copytree(PROJECT / "model" / MODEL, models / MODEL)
        with Service(models) as service:
            service.start()
            stop = threading.Event()
            try:
                asking = pool.submit(asyncio.run, ask(stop, service.url))
                for _ in range(times):
                    act(service)
            finally:
                stop.set()
            tallies = asking.result()
            service.stop()
    return tallies


async def ask(stop: threading.Event, url: str) -> tuple[Tally, Tally]:
    """Ask about the picture until `stop`: as twelve clients, and as one more again and again."""
    question, twelve, others = Question.of(url, [PICTURE.read_bytes()]), Tally(), Tally()
    await asyncio.gather(
        ask_as_twelve(stop, question, twelve),
        ask_anew_until(stop, question, others, every=_EVERY),
    )
    return twelve, others


class Service(ExitStack):
    """The service as somebody runs it; it ends with the context, however that ends."""

    def __init__(self, models: Path) -> None:
        super().__init__()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._running = partial(
            running,
            [sys.executable, "app.py", "--port", port],
            f"{self.url}/ready",
            GARMENTS_MODEL_DIR=str(models),
            GARMENTS_REQUEST_LOG="0",
        )

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.process = self.enter_context(self._running()).process

    def stop(self) -> None:
        """Stop it, which has to end well."""
        self.close()
        assert self.process.returncode == 0, f"ended with {self.process.returncode}"


def restart(service: Service) -> None:
    """Stop it under load, and start it again."""
    time.sleep(0.2)
    service.stop()
    service.start()


def reload(service: Service) -> None:
    """Have it take its models anew, and wait until it does no more work on that."""
    pid = service.process.pid
    before = set(family(pid)[1:])
    service.process.send_signal(signal.SIGHUP)
    deadline = time.perf_counter() + _SECONDS_TO_RELOAD
    while before & set(family(pid)[1:]):
        if time.perf_counter() > deadline:
            raise SystemExit(f"workers serve the old models {_SECONDS_TO_RELOAD} s later")
        time.sleep(0.02)
    assert service.process.poll() is None, f"ended with {service.process.returncode}"


if __name__ == "__main__":
    run(main)
