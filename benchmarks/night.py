"""How fast a night is, against the naive one and against the model alone; `make bench` runs it.

All figures are of one run on one machine, medians of several rounds that take turns.
"""

import argparse
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import numpy as np
import requests

from benchmarks import naive
from garments import dataset
from garments.engine import Engine
from garments.preprocess import Limits, to_array
from garments.settings import PROJECT

AT_ONCE = 64


@contextmanager
def running(url: str, *command: object, **variables: str) -> Iterator[None]:
    """A service that is ready, in a process of its own."""
    with subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=PROJECT,
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            while process.poll() is None:
                with suppress(requests.ConnectionError):
                    if requests.get(f"{url}/ready", timeout=5).ok:
                        break
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def timed(work: Callable[..., object], *arguments: object) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def our_night(folder: Path, url: str, place: Path) -> None:
    """The nightly client as cron runs it, with database, table and report."""
    subprocess.run(
        [sys.executable, "batch_request.py", folder, "--url", url, "--output", place / "p.csv"],
        cwd=PROJECT,
        env={**os.environ, "GARMENTS_DATABASE_URL": f"sqlite:///{place}/p.db"},
        check=True,
        stderr=subprocess.DEVNULL,
    )


def answer_alone(paths: Sequence[Path], started: Callable[[], object]) -> None:
    """Read, decode and answer, without a service; `started` is called when the model is loaded."""
    engine = Engine(PROJECT / "model" / "fashion-mnist")
    card = engine.card
    started()
    for start in range(0, len(paths), AT_ONCE):
        arrays = [
            to_array(
                path.read_bytes(), card.height, card.width, card.preprocessing, limits=Limits()
            )
            for path in paths[start : start + AT_ONCE]
        ]
        engine.predict(np.stack(arrays))


def alone(folder: Path, processes: int) -> float:
    """Seconds that `processes` of them take for all pictures, loading aside."""
    paths = sorted(folder.glob("*.png"))
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + 1)
    workers = [
        context.Process(target=answer_alone, args=(paths[rank::processes], barrier.wait))
        for rank in range(processes)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    return timed(lambda: [worker.join() for worker in workers])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--naive", type=int, default=300, help="pictures of the naive night")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    cores = os.cpu_count() or 1
    rates: dict[str, list[float]] = {"naive": [], "night": [], "again": [], "alone": []}
    with tempfile.TemporaryDirectory() as name:
        place, numbers = Path(name), count()
        test = dataset.load("test", PROJECT / "Data", None)
        dataset.write_images(test, range(given.pictures), place / "all")
        dataset.write_images(test, range(given.naive), place / "few")
        port, naive_port = free_port(), free_port()
        url, naive_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{naive_port}"
        for _ in range(given.rounds):
            model = PROJECT / "model" / "fashion-mnist" / "model.keras"
            with running(naive_url, "-m", "benchmarks.naive", model, naive_port):
                spent = timed(naive.night, place / "few", naive_url, place / "naive.csv")
                rates["naive"].append(given.naive / spent)
            with running(url, "app.py", "--port", port):
                kept = place / f"night-{next(numbers)}"
                (kept / "none").mkdir(parents=True)
                our_night(kept / "none", url, kept)  # makes the tables, once in a lifetime
                spent = timed(our_night, place / "all", url, kept)
                rates["night"].append(given.pictures / spent)
                spent = timed(our_night, place / "all", url, kept)
                rates["again"].append(given.pictures / spent)
                shutil.rmtree(kept)
            rates["alone"].append(given.pictures / alone(place / "all", cores))
    for title, found in rates.items():
        shown = ", ".join(f"{rate:,.0f}" for rate in found)
        print(f"{title:6} {statistics.median(found):9,.0f} images/s  ({shown})")
    ratios = {
        "night / naive": [a / b for a, b in zip(rates["night"], rates["naive"], strict=True)],
        "night / alone": [a / b for a, b in zip(rates["night"], rates["alone"], strict=True)],
    }
    for title, found in ratios.items():
        print(f"{title}  {statistics.median(found):.2f}")


if __name__ == "__main__":
    main()
