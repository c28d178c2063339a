"""A contender's turn: start it, check its answers, put load on it, weigh it, stop it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks import service
from benchmarks.alone import MODEL
from benchmarks.contenders import Contender
from benchmarks.load import Load, Posts, load
from garments.answering import answer_each
from garments.engine import Answer, Engine
from garments.preprocess import Limits
from garments.settings import PROJECT

_SECONDS_TO_WARM_UP = 1


@dataclass(frozen=True)
class Turn:
    """The load on a contender, MiB after it, and seconds from its start until it was ready.

    `others` is the part of the machine that other programs took meanwhile.
    """

    load: Load
    memory: float
    ready: float
    others: float

    def __str__(self) -> str:
        load = self.load
        void = f"  VOID: {load.failed} failed" if load.failed else ""
        return (
            f"{load.rate:7,.0f} requests/s  p50 {load.p50:6.2f} ms  p99 {load.p99:6.2f} ms"
            f"  {self.memory:4.0f} MiB  ready {self.ready:5.2f} s  others {self.others:4.0%}{void}"
        )


def pictures() -> list[Path]:
    """A hundred pictures of the repository."""
    return sorted((PROJECT / "images").glob("image_*_label_?.png"))[:100]


@contextmanager
def started(contender: Contender) -> Iterator[tuple[str, service.Running]]:
    """Run a contender on a free port; its address, and what runs."""
    port = str(service.free_port())
    url = f"http://127.0.0.1:{port}"
    command = [str(part).replace("PORT", port) for part in contender.command]
    variables = {name: text.replace("PORT", port) for name, text in contender.variables.items()}
    with service.running(command, url + contender.ready, **variables) as running:
        yield url, running


def take_turn(contender: Contender, seconds: float) -> Turn:
    """Measure a contender once. Raises SystemExit where it does not start or answers wrongly."""
    # Every request has as many pictures, so the first may come again in the last one.
    paths, size = pictures(), contender.pictures
    paths = list(islice(paths * size, -(-len(paths) // size) * size))
    groups = [paths[start : start + size] for start in range(0, len(paths), size)]
    bodies = [contender.body([path.read_bytes() for path in group]) for group in groups]
    with started(contender) as (url, running):
        posts = Posts(url + contender.path, contender.content_type, bodies)
        _check(contender, posts, paths)
        load(posts, _SECONDS_TO_WARM_UP)
        time.sleep(_SECONDS_TO_WARM_UP)  # what the generator left under way still takes places
        others = service.Others(running.pid)
        found = load(posts, seconds)
        return Turn(found, service.memory(running.pid), running.seconds, others.share())


def _check(contender: Contender, posts: Posts, paths: Sequence[Path]) -> None:
    found: list[int] = []
    for body in posts.bodies:
        headers = {"Content-Type": posts.content_type}
        with service.session() as direct:
            answer = direct.post(posts.url, body, headers=headers, timeout=10)
        answer.raise_for_status()
        found += contender.classes(answer.json())
    if found != classes(paths):
        raise SystemExit(f"{contender.name} answers other classes than the model: {found}")


def classes(paths: Sequence[Path]) -> list[int]:
    """What the model says without a service; nothing of a file that is no picture."""
    answers = answer_each(Engine(MODEL), (path.read_bytes() for path in paths), limits=Limits())
    return [answer.top[0].prediction for answer in answers if isinstance(answer, Answer)]
