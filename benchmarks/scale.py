"""What a Ray job costs beside the nightly client, by photos and workers: `make bench-scale`.

The photos are pictures of the test set, each file with bytes of its own behind the picture, so that
none is known by its content. Every job starts with nothing known, in a process of its own; `nothing
new` is the same job again, which lists the photos and writes the table anew: the work of the one
driver that more machines do not make quicker.
"""

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.ending import run
from benchmarks.service import family, free_port, memory, running
from garments import dataset, generated
from garments.settings import PROJECT, Settings

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_SETTLE = 3
# Ray listens on every address of a machine: so with a secret, and with loopback alone if it can be.
_APART = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
_SECRET = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


class Spent(NamedTuple):
    """What a process took: seconds, and the most MiB of itself and of all others of the job."""

    seconds: float
    own: float
    others: float


def peak(pid: int) -> float:
    """The most MiB that a process has had; what the system tells at its end counts its parent's."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def spent(command: list[object], others: int, **environment: str) -> Spent:
    """Run a command to its end, and look at the processes below `others` meanwhile."""
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=PROJECT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    started, own, below = time.perf_counter(), 0.0, 0.0
    ended = threading.Event()

    def look() -> None:
        nonlocal own, below
        while not ended.wait(_SECONDS_BETWEEN_LOOKS):
            # Ray has a process of its own below that of the job.
            mine = sum(map(peak, family(process.pid)))
            own, below = max(own, mine), max(below, memory(others))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        _, told = process.communicate()
        seconds = time.perf_counter() - started
    finally:
        process.kill()  # of one that has ended it does nothing
        ended.set()
        looking.join()
    assert process.returncode == 0, told
    return Spent(seconds, own, below)


def apart() -> bool:
    """Whether this process may have a network namespace."""
    able = shutil.which("unshare") and shutil.which("nsenter")
    return bool(able) and not subprocess.run([*_APART, "true"], check=False).returncode


@contextmanager
def node(cores: int, folder: Path, within: list[str]) -> Iterator[tuple[str, int]]:
    """Run a Ray node with so many cores; give its address and process."""
    address = f"127.0.0.1:{free_port()}"
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **_SECRET}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += ["--node-ip-address=127.0.0.1", f"--port={address.rpartition(':')[2]}"]
    command += [f"--num-cpus={cores}", "--include-dashboard=false", f"--temp-dir={folder}"]
    command += [f"--object-store-memory={200 * 2**20}"]
    process = subprocess.Popen(
        [*within, *command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(10)
        assert process.poll() is None, "the node ended"
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(timeout=60)


def nightly(photos: Path, place: Path, workers: int) -> list[Spent]:
    """The nightly client with a service of so many workers, and the same night again."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    serving = [sys.executable, "app.py", "--port", port, "--workers", workers]
    with running(serving, f"{url}/ready") as service:
        command = [sys.executable, "batch_request.py", photos, "--url", url]
        command += ["--output", place / "p.csv"]
        database = f"sqlite:///{place}/p.db"
        pid = service.pid
        return [spent(command, pid, GARMENTS_DATABASE_URL=database) for _ in range(2)]


def job(photos: Path, place: Path, workers: int) -> list[Spent]:
    """A job on so many cores, and the same job again."""
    command = [sys.executable, "batch_request.py", photos, "--engine", "ray"]
    command += ["--output", place / "ray.csv"]
    # Its sockets are files, whose names have at most 107 bytes.
    scratch = tempfile.TemporaryDirectory(prefix="r", dir="/tmp")
    within = _APART if apart() else []
    with scratch as folder, node(workers, Path(folder), within) as (address, pid):
        there = ["nsenter", f"--net=/proc/{pid}/ns/net"] if within else []
        return [spent([*there, *command], pid, RAY_ADDRESS=address, **_SECRET) for _ in range(2)]


def make(place: Path, count: int) -> Path:
    """So many files of the test pictures, no two alike."""
    originals = place / "originals"
    if not originals.exists():
        test = dataset.load("test", PROJECT / "Data", Settings.from_environment().dataset_dir)
        generated.write_images(test, range(len(test.labels)), originals)
    contents = [path.read_bytes() for path in sorted(originals.iterdir())]
    folder = place / f"photos-{count}"
    folder.mkdir()
    for number in range(count):
        own = number.to_bytes(8, "big")  # decoders look no further than the picture's end
        (folder / f"{number:08}.png").write_bytes(contents[number % len(contents)] + own)
    time.sleep(_SECONDS_TO_SETTLE)  # or both would wait for what may still be written
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    print("| photos | workers | engine | seconds | photos/s | nothing new, s | driver | workers |")
    print("|---:|---:|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        for count in given.photos:
            photos = make(Path(name), count)
            for workers in given.workers:
                for title, engine in (("service", nightly), ("ray", job)):
                    place = Path(name) / "kept"
                    place.mkdir()
                    first, again = engine(photos, place, workers)
                    print(
                        f"| {count:,} | {workers} | {title} | {first.seconds:.1f} "
                        f"| {count / first.seconds:,.0f} | {again.seconds:.1f} "
                        f"| {first.own:,.0f} MiB | {first.others:,.0f} MiB |",
                        flush=True,
                    )
                    shutil.rmtree(place)


if __name__ == "__main__":
    run(main)
