"""From the bytes of pictures to one model's answers: the path that serving and clusters share."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from garments.engine import Answer, Engine
from garments.preprocess import BadImage, Limits, to_array

Ask = Callable[[Engine, npt.NDArray[np.uint8], int], list[Answer]]
"""How an engine is asked about some pictures, with how many classes to tell of each."""


def answer_each(
    engine: Engine,
    contents: Iterable[bytes],
    *,
    limits: Limits,
    top: int = 3,
    ask: Ask = Engine.predict,
) -> list[Answer | BadImage]:
    """The answer to each picture, or what is wrong with it; a bad one harms no other.

    Whatever `contents` raises passes through.
    """
    card = engine.card
    results: list[Answer | BadImage | None] = []
    arrays = []
    for content in contents:
        try:
            arrays.append(
                to_array(content, card.height, card.width, card.preprocessing, limits=limits)
            )
            results.append(None)
        except BadImage as fault:
            results.append(fault)
    # To stack a single picture takes as long as to look at it.
    pictures = arrays[0][None] if len(arrays) == 1 else np.stack(arrays) if arrays else None
    answers = iter(() if pictures is None else ask(engine, pictures, top))
    return [next(answers) if result is None else result for result in results]
