"""Pictures of one request to the models that they are for."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from garments.engine import Engine
from garments.preprocess import BadImage
from garments.preprocess.size import pixels_of_png, size_of
from garments.routing import in_header, model_for, together
from garments.web.batching import TooMuch, others_wait
from garments.web.classify import Result, classify
from garments.web.models import Candidates
from garments.web.problems import Refusal, out_of_time
from garments.web.uploads import Upload


def engines_for(
    candidates: Candidates, uploads: Sequence[Upload], *, until: float = math.inf
) -> list[Engine]:
    """The engine for each upload; that for photos where an upload cannot be read.

    Raises Refusal once `time.monotonic()` is past `until`, and TooMuch if others wait in the event
    loop and a file is more work than to look at the head of a PNG.
    """
    small, photo = candidates
    if small is photo:
        return [small] * len(uploads)
    return [model_for(size, small, photo) for size in _sizes(uploads, until)]


@lru_cache(maxsize=8)  # there are few candidates, and many requests
def chosen_from(candidates: Candidates) -> str:
    """What an answer says of the models that could have given it."""
    return in_header(together({engine.card.identity for engine in candidates}))


def classify_each(engines: Sequence[Engine], uploads: Sequence[Upload], **how: Any) -> list[Result]:
    """What `classify` finds for each of `uploads`, by its own engine of `engines`."""
    groups: dict[str, list[int]] = {}
    for place, engine in enumerate(engines):
        groups.setdefault(engine.card.name, []).append(place)
    if len(groups) == 1:
        return classify(engines[0], uploads, **how)
    results: dict[int, Result] = {}
    for places in groups.values():
        some = [uploads[place] for place in places]
        try:
            found = classify(engines[places[0]], some, **how)
        except (BadImage, Refusal) as fault:
            # What is wrong with a picture that is the only one for its model harms no other.
            if isinstance(fault, Refusal) and fault is not some[0].content:
                raise
            found = [fault]
        results.update(zip(places, found, strict=True))
    return [results[place] for place in range(len(uploads))]


def _sizes(uploads: Sequence[Upload], until: float) -> Iterator[tuple[int, int] | None]:
    for upload in uploads:
        # Pillow may unpack 60 MB of texts before it tells the size of a PNG of 60 KB.
        if time.monotonic() > until:
            raise out_of_time()
        if isinstance(upload.content, Refusal):
            yield None
            continue
        # What Pillow is needed for, `classify` would hand to a thread too.
        if others_wait() and pixels_of_png(upload.content) is None:
            raise TooMuch
        yield size_of(upload.content)
