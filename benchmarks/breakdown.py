"""Where the microseconds of a request go; `make bench-breakdown` runs it.

The layers are timed within whole requests, each worked on alone, in one thread of as many processes
as there are cores: called by themselves they would find their code and data in the caches, and a
core that is alone is faster. Then the service and a WSGI app that does nothing are put under load,
for what HTTP costs.
"""

import argparse
import io
import multiprocessing
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

from flask import Flask
from werkzeug.test import EnvironBuilder

from benchmarks import tables
from benchmarks.contenders import Contender, granian, ours, python_of
from benchmarks.counts import at_least_one
from benchmarks.ending import run
from benchmarks.load import Posts, load
from benchmarks.service import CORES, beside, undisturbed
from benchmarks.turn import pictures, started
from garments import preprocess
from garments.engine import Engine, Graph
from garments.report import table
from garments.settings import Settings
from garments.web import api, create_app

_ENVIRON = EnvironBuilder("/predict", method="POST", content_type="image/png").get_environ()
_ROUNDS_TO_WARM_UP = 3


class Stopwatch:
    """Seconds within functions by name, without those within others that it knows."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.calls: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner = 0.0

    def on(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed."""
        self.names.append(name)

        def timed(*arguments: Any, **named: Any) -> Any:
            before, self._inner = self._inner, 0.0
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent = time.perf_counter() - started
                self.calls[name] += 1
                self.seconds[name] += spent - self._inner
                self._inner = before + spent

        return timed


def layers(rounds: int) -> dict[str, float]:
    """Microseconds of each layer of a request with one picture, over `rounds` of a hundred.

    Raises SystemExit where a layer is not on the way of every request.
    """
    watch = Stopwatch()
    bodies = [path.read_bytes() for path in pictures()]
    with ExitStack() as stack:

        def timed(name: str, owner: Any, key: str) -> None:
            if isinstance(owner, dict):
                stack.enter_context(patch.dict(owner, {key: watch.on(name, owner[key])}))
            else:
                function = watch.on(name, getattr(owner, key))
                stack.enter_context(patch.object(owner, key, function))

        timed("reading the body", api, "read_uploads")
        timed("Pillow: opening and decoding", preprocess, "read_picture")
        timed("the picture as the model wants it", preprocess.PREPROCESSING, "fashion-mnist")
        timed("ONNX Runtime", Graph, "probabilities")
        timed("from probabilities to an answer", Engine, "predict")
        app = create_app(replace(Settings.from_environment(), request_log=0))
        timed("the view", app.view_functions, "api.predict")
        timed("JSON", app.json, "dumps")
        timed("Flask: contexts, routing, request and response", app, "wsgi_app")
        for turn in range(-_ROUNDS_TO_WARM_UP, rounds):
            if turn == 0:
                watch.calls.clear()
                watch.seconds.clear()
            for body in bodies:
                _ask(app, body)
    requests = rounds * len(bodies)
    for name in watch.names:
        if watch.calls[name] != requests:
            raise SystemExit(f"{name}: {watch.calls[name]} calls in {requests} requests")
    return {name: 1e6 * watch.seconds[name] / requests for name in watch.names}


def _ask(app: Flask, body: bytes) -> None:
    """What a WSGI server does with a request, short of HTTP."""
    environ = {
        **_ENVIRON,
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
    }
    statuses: list[str] = []
    answer = app.wsgi_app(environ, lambda status, *_: statuses.append(status))  # type: ignore[arg-type]
    content = b"".join(answer)
    answer.close()  # type: ignore[attr-defined]
    assert statuses == ["200 OK"], content


def under_load(contender: Contender, seconds: float) -> float:
    """Microseconds of all cores together that a request costs, with the load generator's."""
    with _loaded(contender, seconds) as (pid, rate):
        return 1e6 * CORES / undisturbed(lambda: beside(rate, pid))


@contextmanager
def _loaded(contender: Contender, seconds: float) -> Iterator[tuple[int, Callable[[], float]]]:
    """A service's process, and what puts load on it and tells the requests a second."""
    with started(contender) as (url, running):
        bodies = [path.read_bytes() for path in pictures()]
        posts = Posts(url + contender.path, contender.content_type, bodies)

        def rate() -> float:
            found = load(posts, seconds)
            if found.failed:
                raise SystemExit(f"{found.failed} requests failed")
            return found.rate

        load(posts, 1)
        yield running.pid, rate


def hot_lines(spy: Path, seconds: float) -> list[tuple[str, float]]:
    """The ten lines that our service is most often found at under load, with their shares."""
    with (
        _loaded(ours(), seconds + 1) as (pid, rate),
        tempfile.NamedTemporaryFile() as samples,
    ):
        options = f"record --subprocesses --rate 200 --duration {seconds:.0f} --format raw".split()
        recording = subprocess.Popen(
            [spy, *options, "--pid", str(pid), "--output", samples.name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        rate()
        if recording.wait(30):
            raise SystemExit("py-spy failed: it needs the right to trace other processes")
        found: Counter[str] = Counter()
        for line in Path(samples.name).read_text("utf-8").splitlines():
            frames, _, count = line.rpartition(" ")
            frame = frames.rpartition(";")[2]
            if not frame.startswith("process "):  # a thread of the server outside Python
                found[frame] += int(count)
    return [(line, count / found.total()) for line, count in found.most_common(10)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=at_least_one, default=50, help="of a hundred pictures")
    parser.add_argument("--seconds", type=float, default=5, help="of load")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    given = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(CORES) as pool:
        each = undisturbed(
            lambda: beside(lambda: pool.map(layers, [given.rounds] * CORES, chunksize=1))
        )
    found = {name: mean(times[name] for times in each) for name in each[0]}
    alone = sum(found.values())
    floor = under_load(ours("nothing", *granian("benchmarks.floor:app")), given.seconds)
    whole = under_load(ours(), given.seconds)
    rows = [
        *found.items(),
        ("**together, without HTTP**", alone),
        (
            "Granian's WSGI, the sockets and the load generator, under an app that does nothing",
            floor,
        ),
        (
            "what is left: the service's own code around Flask, less what working together saves",
            whole - alone - floor,
        ),
        (f"**of {CORES} cores, a request under load**", whole),
    ]
    written = {"layers": table(["", "µs"], [[name, f"{spent:.0f}"] for name, spent in rows])}
    spy = python_of("servers").with_name("py-spy")
    if spy.exists():
        lines = hot_lines(spy, given.seconds)
        written["lines"] = table(
            ["", "share"], [[f"`{line}`", f"{100 * share:.1f} %"] for line, share in lines]
        )
    print("\n".join(written.values()))
    if given.write:
        tables.write(written)


if __name__ == "__main__":
    run(main)
