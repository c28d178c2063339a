"""From uploads to answers, in the order sent: the path of a picture through the service."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from garments.engine import Answer, Engine
from garments.preprocess import BadImage, Limits, to_array
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
    card = engine.card
    results: list[Result | None] = [None] * len(uploads)
    arrays = []
    for place, upload in enumerate(uploads):
        if time.monotonic() > until:
            raise Refusal("out_of_time", OUT_OF_TIME)
        try:
            if isinstance(upload.content, Refusal):
                raise upload.content
            arrays.append(
                to_array(
                    upload.content,
                    card.height,
                    card.width,
                    card.preprocessing,
                    limits=limits,
                )
            )
        except (BadImage, Refusal) as fault:
            if len(uploads) == 1:
                raise
            results[place] = fault
    # To stack a single picture takes as long as to look at it.
    pictures = arrays[0][None] if len(arrays) == 1 else np.stack(arrays) if arrays else None
    answers = iter(() if pictures is None else ask(engine, pictures, top))
    return [next(answers) if result is None else result for result in results]
