"""Distillation: each picture altered in so many ways, and what teachers answer for it.

Large teachers take longer to answer than a small network to learn. So the same alterations come
again after some epochs, and what was answered is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from garments.training import checkpoint
from garments.training.batches import Examples
from garments.training.learner import Floats, Pictures
from garments.training.recipe import Recipe
from garments.training_request import TrainingError

ALTERATIONS = 64
"""How often each picture is altered; after so many epochs the same come again."""
_AT_ONCE = 1_000  # pictures that are altered together

log = logging.getLogger(__name__)


class AnsweredPictures(NamedTuple):
    """All training pictures as an epoch shows them."""

    pictures: Pictures
    """(n, height, width, channels)"""
    answers: Floats
    """What the teachers say of each: probabilities (n, classes)."""


class TeacherAnswers:
    """The alterations of `training`, alike for all learners of a recipe, and what is said of them.

    `answer` is asked once for each alteration, and its answers are kept in `folder`, by a name that
    only these pictures, alterations and teachers have; `digest` is of the first and the last.
    """

    def __init__(
        self,
        training: Examples,
        recipe: Recipe,
        answer: Callable[[Pictures], Floats],
        folder: Path,
        digest: str,
    ) -> None:
        self._training = training
        self._recipe = recipe
        self._answer = answer
        altered = recipe.shift, recipe.cutout, recipe.camera
        self._kept_in = folder / f"answers-{checkpoint.fingerprint(*altered, digest)}"

    def of(self, epoch: int) -> AnsweredPictures:
        """What an epoch, counted from 0, shows and teachers say of it.

        Raises TrainingError where the answers cannot be kept, and where what was kept is damaged.
        """
        number = epoch % ALTERATIONS
        pictures = self._altered(number)
        kept = self._kept_in / f"answers-{number}.npz"
        if not kept.exists():
            self._ask(pictures, number, kept)
        answers = checkpoint.load(kept).get("answers", np.empty(0))
        if answers.shape != self._training.targets.shape:
            raise TrainingError(f"{kept} is damaged: delete it, and the same command makes it anew")
        return AnsweredPictures(pictures, answers.astype(np.float32))

    def _ask(self, pictures: Pictures, number: int, kept: Path) -> None:
        # Another learner may come to the same alteration meanwhile: it waits for the answers.
        with checkpoint.locked(kept, waits=True):
            if not kept.exists():
                log.info("asking the teachers, %d of %d", number + 1, ALTERATIONS)
                answers = self._answer(pictures).astype(np.float16)
                checkpoint.save(kept, {"answers": answers})

    def _altered(self, number: int) -> Pictures:
        rows = np.arange(len(self._training.targets))
        return np.concatenate(
            [
                self._training.altered(rows[start : start + _AT_ONCE], self._recipe, number, start)
                for start in range(0, len(rows), _AT_ONCE)
            ]
        )
