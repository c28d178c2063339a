"""How much memory and time a night takes over very many files; `make bench-memory` runs it.

The files are links to the hundred pictures of the repository: what is measured is the client, for
which it does not matter that their answers are soon known.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.ending import run
from benchmarks.service import free_port, running
from garments.settings import PROJECT


def night(folder: Path, url: str, place: Path) -> tuple[float, float]:
    """Seconds and peak MiB of a night as cron runs it."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "batch_request.py", folder, "--url", url, "--output", place / "p.csv"],
        cwd=PROJECT,
        env={**os.environ, "GARMENTS_DATABASE_URL": f"sqlite:///{place}/p.db"},
    )
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()  # what it writes to is about to go
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="+", default=[10_000, 1_000_000])
    given = parser.parse_args()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    service = running([sys.executable, "app.py", "--port", port], f"{url}/ready")
    with service, tempfile.TemporaryDirectory() as name:
        originals = Path(name) / "originals"
        shutil.copytree(PROJECT / "images", originals)
        pictures = sorted(originals.glob("image_*_label_?.png"))[:100]
        for files in given.files:
            place = Path(name) / str(files)
            (place / "photos").mkdir(parents=True)
            for number in range(files):
                os.link(pictures[number % len(pictures)], place / "photos" / f"{number}.png")
            for title in ("first night, of 100 contents", "nothing new"):
                seconds, memory = night(place / "photos", url, place)
                print(f"{files:,} files, {title}: {seconds:.1f} s, {memory:.0f} MiB at most")
            with (place / "p.csv").open("rb") as table:
                assert sum(1 for _ in table) == files + 1
            shutil.rmtree(place)


if __name__ == "__main__":
    run(main)
