"""Four times as much as the service can do, and clients that never finish; `make bench-overload`.

All figures are of one run on one machine that also runs the clients.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import time
from collections.abc import Sequence

import uvloop

from benchmarks.clients import Question, Tally, ask_at, ask_for
from benchmarks.ending import run
from benchmarks.service import free_port, memory, running
from garments.settings import PROJECT, Settings

# So many that one process can ask at four times the rate at which they are answered.
PICTURES = 16
# Seconds for waiting and work together; what would take longer is refused.
DEADLINE = 0.5
SLOW_CLIENTS = 200
WORKERS = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args(arguments)
    paths = sorted((PROJECT / "images").glob("image_*.png"))
    pictures = [path.read_bytes() for path in paths]
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    variables = {"GARMENTS_REQUEST_LOG": "0", "GARMENTS_DEADLINE_SECONDS": str(DEADLINE)}
    command = [sys.executable, "app.py", "--port", port, "--workers", WORKERS]
    with running(command, f"{url}/ready", **variables) as service:
        uvloop.run(overload(Question.of(url, pictures[:PICTURES]), given.seconds, service.pid))
        uvloop.run(slow_clients(Question.of(url, pictures[:1]), port))


async def overload(question: Question, seconds: float, pid: int) -> None:
    """Ask at four times the capacity, and tell what became of it."""
    capacity = len((await ask_for(5, question, 8)).seconds) / 5
    before = await ask_for(5, question)
    used = [memory(pid)]
    storm = asyncio.create_task(ask_at(4 * capacity, seconds, question))
    while not storm.done():
        await asyncio.sleep(seconds / 6)
        used.append(memory(pid))
    tally = storm.result()
    after = await ask_for(5, question)
    used.append(memory(pid))
    full = WORKERS * Settings.max_queue / capacity
    print(f"requests of {PICTURES} pictures, {DEADLINE} s for each")
    print(f"capacity               {capacity:.0f} requests/s")
    print(f"offered                {4 * capacity:.0f} requests/s for {seconds:.0f} s")
    print(f"of {tally.count():<20}{tally}")
    print(f"p99 before             {before.p99() * 1000:.0f} ms")
    print(f"p99 of the accepted    {tally.p99() * 1000:.0f} ms")
    print(f"twice that, deadline   {(2 * before.p99() + DEADLINE) * 1000:.0f} ms")
    print(f"twice that, full line  {(2 * before.p99() + full) * 1000:.0f} ms")
    print(f"p99 of their sending   {tally.p99_late() * 1000:.0f} ms late")
    print(f"p99 after              {after.p99() * 1000:.0f} ms")
    print(f"memory, MiB            {', '.join(f'{size:.0f}' for size in used)}")


async def slow_clients(question: Question, port: int) -> None:
    """Ask beside clients that send a byte a second, in the head or the body, or nothing."""
    before = await ask_for(5, question, 4)
    slow = [asyncio.create_task(dribble(port, number)) for number in range(SLOW_CLIENTS)]
    await asyncio.sleep(2)
    beside: Tally = await ask_for(5, question, 4)
    for task in slow:
        task.cancel()
    print(f"\nbeside {SLOW_CLIENTS} clients that send a byte a second, or nothing")
    for name, tally in (("alone", before), ("beside them", beside)):
        rate = len(tally.seconds) / 5
        print(f"{name:22} {rate:.0f} requests/s, p99 {tally.p99() * 1000:.1f} ms; {tally}")


async def dribble(port: int, number: int) -> None:
    """Be a slow client of one of four kinds, again and again."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    start, rest = (
        (b"", head),
        (head + b"Content-Length: 5000\r\n\r\n", b"x" * 5000),
        (head + b"Content-Length: 500000\r\n\r\n", b"x" * 500000),
        (b"", b""),
    )[number % 4]
    while True:
        with socket.create_connection(("127.0.0.1", port)) as client:
            try:
                client.sendall(start)
                for byte in rest:
                    await asyncio.sleep(1)
                    client.send(bytes([byte]))
                await asyncio.sleep(60)
            except ConnectionError:
                pass


if __name__ == "__main__":
    started = time.perf_counter()
    run(main)
    print(f"\nin {time.perf_counter() - started:.0f} s")
