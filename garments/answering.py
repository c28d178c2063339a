"""From a model folder and the bytes of pictures to answers: what serving and clusters share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from garments.card import Card
from garments.engine import Answer, Engine, EngineError
from garments.preprocess import PREPROCESSING, BadImage, Limits, to_array

Ask = Callable[[Engine, npt.NDArray[np.uint8], int], list[Answer]]
"""How an engine is asked about some pictures, with how many classes to tell of each."""


def load_engine(folder: Path, model: tuple[Card, bytes]) -> Engine:
    """The engine of `model`, as `read_model` found it in `folder`, ready for `answer_each`.

    Raises EngineError, also where the folder has another name than its model, or this version does
    not know the model's preprocessing.
    """
    engine = Engine(folder, model)
    if engine.card.name != folder.name:
        raise EngineError(f"{folder} holds the model {engine.card.name!r}: give it that name")
    if engine.card.preprocessing not in PREPROCESSING:
        known = ", ".join(PREPROCESSING)
        raise EngineError(
            f"{folder} asks for the preprocessing {engine.card.preprocessing!r}, "
            f"this version knows {known}"
        )
    return engine


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
