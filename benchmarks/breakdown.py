"""What each layer of one request costs; `make bench-breakdown` runs it.

Each layer is called in this process, alone, with a real picture; figures are microseconds of one
core, the best of several repeats. What HTTP adds is the rest of what a request costs under load.
"""

import argparse
import io
import statistics
import timeit
from collections.abc import Callable
from itertools import cycle
from typing import Any

from flask import Flask
from werkzeug.test import EnvironBuilder

from benchmarks.alone import MODEL
from benchmarks.http import pictures
from garments.engine import Engine
from garments.preprocess import PREPROCESSING
from garments.preprocess.picture import read_picture
from garments.web import create_app


def call(app: Flask, environ: dict[str, Any], body: bytes) -> bytes:
    """What a WSGI server does with a request, short of HTTP."""
    status: list[str] = []
    answer = app.wsgi_app(
        {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))},
        lambda given, *_: status.append(given),  # type: ignore[arg-type, return-value]
    )
    content = b"".join(answer)
    answer.close()  # type: ignore[attr-defined]
    assert status == ["200 OK"], content
    return content


def layers() -> dict[str, Callable[[], object]]:
    """The parts of a request by name, each to be called on the next of a hundred pictures."""
    app, engine = create_app(), Engine(MODEL)
    card = engine.card
    shape = PREPROCESSING[card.preprocessing]
    bodies = [path.read_bytes() for path in pictures()]
    decoded = [read_picture(body, max_pixels=10**6) for body in bodies]
    arrays = [shape(picture, card.height, card.width)[None] for picture in decoded]
    predict = EnvironBuilder("/predict", method="POST", content_type="image/png").get_environ()
    health = EnvironBuilder("/health").get_environ()
    answer = app.json.loads(call(app, predict, bodies[0]))
    next_body, next_picture, next_array = map(cycle, (bodies, decoded, arrays))

    def on(values: Any, work: Callable[[Any], object]) -> Callable[[], object]:
        return lambda: work(next(values))

    return {
        "request": on(next_body, lambda body: call(app, predict, body)),
        "flask": lambda: call(app, health, b""),
        "decode": on(next_body, lambda body: read_picture(body, max_pixels=10**6)),
        "shape": on(next_picture, lambda picture: shape(picture, card.height, card.width)),
        "model": on(next_array, engine.probabilities),
        "predict": on(next_array, engine.predict),
        "json": lambda: app.json.dumps(answer),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    for name, work in layers().items():
        found = timeit.repeat(work, number=given.calls, repeat=given.repeats)
        each = [1e6 * seconds / given.calls for seconds in found]
        print(f"{name:10} {min(each):7.1f} {statistics.median(each):7.1f}")


if __name__ == "__main__":
    main()
