"""How fast the service answers over HTTP; `make bench-http` and `make bench-peers` run it.

All contenders take turns on the same machine, each alone with the load generator: 16 kept-alive
connections, each with one request under way. Figures are medians over the rounds.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import requests

from benchmarks import service
from benchmarks.alone import AT_ONCE, MODEL, alone
from benchmarks.contenders import CORES, Contender, ours
from benchmarks.load import Load, Posts, generator, load
from garments.engine import Engine
from garments.preprocess import to_array
from garments.settings import PROJECT

_SECONDS_TO_WARM_UP = 1


@dataclass(frozen=True)
class Run:
    """One contender's turn: its load, MiB after it, and seconds from start until ready."""

    load: Load
    memory: float
    ready: float


def pictures() -> list[Path]:
    """A hundred pictures of the repository."""
    return sorted((PROJECT / "images").glob("image_*_label_?.png"))[:100]


def expected(paths: Sequence[Path]) -> list[int]:
    """The classes that the model gives, without a service."""
    engine = Engine(MODEL)
    card = engine.card
    arrays = [
        to_array(path.read_bytes(), card.height, card.width, card.preprocessing, max_pixels=10**6)
        for path in paths
    ]
    return [answer.top[0].prediction for answer in engine.predict(np.stack(arrays))]


def take_turn(contender: Contender, paths: Sequence[Path], seconds: float) -> Run:
    """Start a contender, check its answers, and put load on it. Raises SystemExit."""
    url = f"http://127.0.0.1:{service.free_port()}"
    port = url.rpartition(":")[2]
    command = [str(part).replace("PORT", port) for part in contender.command]
    # Every request has as many pictures, so the last ones may come twice.
    count = contender.pictures
    requests_of = -(-len(paths) // count)
    looped = list(islice([*paths, *paths], requests_of * count))
    groups = [looped[start : start + count] for start in range(0, len(looped), count)]
    bodies = [contender.body([path.read_bytes() for path in group]) for group in groups]
    posts = Posts(f"{url}{contender.path}", contender.content_type, bodies)
    with service.running(command, url + contender.ready, **contender.variables) as running:
        _check(contender, posts, expected(looped))
        load(posts, _SECONDS_TO_WARM_UP)
        found = load(posts, seconds)
        return Run(found, service.memory(running.pid), running.seconds)


def _check(contender: Contender, posts: Posts, classes: Sequence[int]) -> None:
    found = []
    for body in posts.bodies:
        answer = requests.post(
            posts.url, body, headers={"Content-Type": posts.content_type}, timeout=10
        )
        answer.raise_for_status()
        found += contender.classes(answer.json())
    if found != classes:
        raise SystemExit(f"{contender.name} answers other classes than the model: {found}")


def measure(contenders: Sequence[Contender], rounds: int, seconds: float) -> dict[str, list[Run]]:
    """The runs of each contender; they take turns. Prints each as it ends."""
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            run = take_turn(contender, pictures(), seconds)
            runs[contender.name].append(run)
            print(
                f"{contender.name:30} {run.load.rate:7,.0f} requests/s  p50 {run.load.p50:6.2f} ms"
                f"  p99 {run.load.p99:6.2f} ms  {run.memory:5.0f} MiB  ready {run.ready:5.2f} s"
                + f"  VOID: {run.load.failed} failed"
                * bool(run.load.failed),
                flush=True,
            )
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", action="store_true", help="our service alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    print(f"load from {generator()}, {CORES} cores")
    measure(
        [ours(), ours("Garments, 64 in a form", form="form", pictures=AT_ONCE)],
        given.rounds,
        given.seconds,
    )
    for _ in range(given.rounds):
        print(f"alone {alone(pictures() * 100, CORES):,.0f} pictures/s")


if __name__ == "__main__":
    main()
