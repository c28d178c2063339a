"""How fast a night is, against the naive one and against the model alone; `make bench` runs it.

All figures are of one run on one machine, medians of several rounds that take turns.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from benchmarks import naive
from benchmarks.alone import alone
from benchmarks.counts import at_least_one
from benchmarks.ending import run
from benchmarks.service import CORES, failure, free_port, running
from garments import dataset, generated
from garments.settings import PROJECT, Settings


def timed(work: Callable[..., object], *arguments: object) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def our_night(folder: Path, url: str, place: Path) -> None:
    """The nightly client as cron runs it, with database, table and report.

    Raises SystemExit, with the end of what it said, where it fails.
    """
    done = subprocess.run(
        [sys.executable, "batch_request.py", folder, "--url", url, "--output", place / "p.csv"],
        cwd=PROJECT,
        env={**os.environ, "GARMENTS_DATABASE_URL": f"sqlite:///{place}/p.db"},
        check=False,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise failure(done.args, f"exit code {done.returncode}", done.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=at_least_one, default=10_000)
    parser.add_argument(
        "--naive", type=at_least_one, default=300, help="pictures of the naive night"
    )
    parser.add_argument("--rounds", type=at_least_one, default=3)
    given = parser.parse_args()
    test = dataset.load("test", PROJECT / "Data", Settings.from_environment().dataset_dir)
    if max(given.pictures, given.naive) > len(test):
        parser.error(f"there are {len(test):,} test pictures: ask for no more")
    rates: dict[str, list[float]] = {"naive": [], "night": [], "again": [], "alone": []}
    with tempfile.TemporaryDirectory() as name:
        place, numbers = Path(name), count()
        generated.write_images(test, range(given.pictures), place / "all")
        generated.write_images(test, range(given.naive), place / "few")
        port, naive_port = free_port(), free_port()
        url, naive_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{naive_port}"
        for _ in range(given.rounds):
            model = PROJECT / "model" / "fashion-mnist" / "model.keras"
            command = [sys.executable, "-m", "benchmarks.naive", model, naive_port]
            with running(command, f"{naive_url}/ready"):
                spent = timed(naive.night, place / "few", naive_url, place / "naive.csv")
                rates["naive"].append(given.naive / spent)
            with running([sys.executable, "app.py", "--port", port], f"{url}/ready"):
                kept = place / f"night-{next(numbers)}"
                (kept / "none").mkdir(parents=True)
                our_night(kept / "none", url, kept)  # makes the tables, once in a lifetime
                spent = timed(our_night, place / "all", url, kept)
                rates["night"].append(given.pictures / spent)
                spent = timed(our_night, place / "all", url, kept)
                rates["again"].append(given.pictures / spent)
                shutil.rmtree(kept)
            rates["alone"].append(alone(sorted((place / "all").glob("*.png")), CORES))
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
    run(main)
