"""Restarts and new models under load, counting every request; `make bench-restarts`."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import requests

from benchmarks.clients import Question, Tally, ask_until
from benchmarks.service import free_port
from garments.settings import PROJECT

MODEL = "fashion-mnist"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.restarts", description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    given = parser.parse_args(arguments)
    for name, act in (("restarts", restart), ("reloads", reload)):
        started = time.perf_counter()
        tally = asyncio.run(under_load(act, given.times))
        seconds = time.perf_counter() - started
        print(f"{given.times} {name} in {seconds:.0f} s: answers by status {dict(tally.answers)},")
        print(f"  of them {len(tally.seconds)} right ones, p99 {tally.p99() * 1000:.0f} ms")
        print(f"  lost {len(tally.lost)} {set(tally.lost) or ''}")
        print(f"  connections not taken (the service was down) {tally.refused}")


async def under_load(act: object, times: int) -> Tally:
    """What became of the requests of twelve clients while the service was acted upon."""
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "model"
        shutil.copytree(PROJECT / "model" / MODEL, models / MODEL)
        picture = next((PROJECT / "images").glob("image_*.png")).read_bytes()
        service = Service(free_port(), models)
        await service.start()
        tally, stop = Tally(), asyncio.Event()
        question = Question.of(service.url, [picture])
        kept = [ask_until(stop, question, tally, pause=0.01) for _ in range(8)]
        fresh = [ask_until(stop, question, tally, pause=0.02, keep=False) for _ in range(4)]
        asking = asyncio.gather(*kept, *fresh)
        for _ in range(times):
            await act(service)  # type: ignore[operator]
        stop.set()
        await asking
        await service.stop()
    return tally


class Service:
    """The service as somebody runs it."""

    def __init__(self, port: int, models: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.port, self.models = port, models
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start it."""
        self.process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(self.port)],
            cwd=PROJECT,
            env={
                **os.environ,
                "GARMENTS_MODEL_DIR": str(self.models),
                "GARMENTS_REQUEST_LOG": "0",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self.launch()
        while not await self.version():
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Tell it to stop and wait until it has."""
        assert self.process is not None
        self.process.terminate()
        assert await asyncio.to_thread(self.process.wait, 60) == 0

    async def version(self) -> str | None:
        """The version of the model that it serves, if it does."""
        with suppress(requests.ConnectionError):
            answer = await asyncio.to_thread(requests.get, f"{self.url}/ready", timeout=10)
            if answer.ok:
                return str(answer.json()["models"][0]["version"])
        return None


async def restart(service: Service) -> None:
    """Stop it under load, and start it again."""
    await asyncio.sleep(0.2)
    await service.stop()
    await service.start()


async def reload(service: Service) -> None:
    """Have it take its models anew, and wait until it does no more work on that."""
    assert service.process is not None
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    before = set(children.read_text().split())
    service.process.send_signal(signal.SIGHUP)
    while before & set(children.read_text().split()):
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    main()
