"""From uploads to answers, in the order sent: the path of a picture through the service."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

from garments.answering import answer_each
from garments.engine import Answer, Engine
from garments.preprocess import BadImage, Limits
from garments.preprocess.size import pixels_of_png
from garments.web.batching import TooMuch, ask, others_wait
from garments.web.problems import Refusal, out_of_time
from garments.web.uploads import Upload

Result = Answer | BadImage | Refusal

# The work that a request may bring where others wait for it: ten milliseconds of decoding, and as
# many of the network. A pixel takes longest in small pictures, up to the size at which the item is
# looked for.
_MOST_PIXELS = 2**16
_MOST_OPERATIONS = 10**9  # multiply-accumulates


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
    `time.monotonic()` is past `until`. Raises TooMuch as `require_little` does.
    """
    require_little(engine, uploads)
    contents = _contents(uploads, until)
    found = iter(answer_each(engine, contents, limits=limits, top=top, ask=ask))
    results: list[Result] = [
        upload.content if isinstance(upload.content, Refusal) else next(found) for upload in uploads
    ]
    if len(results) == 1 and not isinstance(results[0], Answer):
        raise results[0]
    return results


def require_little(engine: Engine, uploads: Sequence[Upload]) -> None:
    """Raise TooMuch if others wait in the event loop and this is more than a little work.

    A few bytes can hold many pixels: 38 bytes of WebP are 25 million. PNG tells by its first bytes.
    To ask other formats would cost more than to hand the request to a thread.
    """
    if not others_wait():
        return
    pixels = operations = 0
    for upload in uploads:
        if isinstance(upload.content, Refusal):
            continue
        found = pixels_of_png(upload.content)
        operations += engine.card.multiply_accumulates
        if found is None or operations > _MOST_OPERATIONS:
            raise TooMuch
        pixels += found
    if pixels > _MOST_PIXELS:
        raise TooMuch


def _contents(uploads: Sequence[Upload], until: float) -> Iterator[bytes]:
    for upload in uploads:
        if time.monotonic() > until:
            raise out_of_time()
        if not isinstance(upload.content, Refusal):
            yield upload.content
