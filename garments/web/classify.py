"""From uploads to answers, in the order sent: the path of a picture through the service."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

from garments.answering import answer_each
from garments.engine import Answer, Engine
from garments.preprocess import BadImage, Limits
from garments.web.lifecycle import OUT_OF_TIME
from garments.web.problems import Refusal
from garments.web.together import ask
from garments.web.uploads import Upload

Result = Answer | BadImage | Refusal


def classify(
    engine: Engine,
    uploads: Sequence[Upload],
    *,
    limits: Limits,
    top: int = 3,
    until: float = math.inf,
) -> list[Result]:
    """Answer every upload or say what is wrong with it; a bad one harms no other.

    Raises the fault of an upload that is the request's only one, and Refusal once
    `time.monotonic()` is past `until`.
    """
    contents = _contents(uploads, until)
    found = iter(answer_each(engine, contents, limits=limits, top=top, ask=ask))
    results: list[Result] = [
        upload.content if isinstance(upload.content, Refusal) else next(found) for upload in uploads
    ]
    if len(results) == 1 and not isinstance(results[0], Answer):
        raise results[0]
    return results


def _contents(uploads: Sequence[Upload], until: float) -> Iterator[bytes]:
    for upload in uploads:
        if time.monotonic() > until:
            raise Refusal("out_of_time", OUT_OF_TIME)
        if not isinstance(upload.content, Refusal):
            yield upload.content
