"""Networks that another one learns from: distillation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from garments.card import CardError
from garments.engine import Engine, EngineError
from garments.training.errors import TrainingError
from garments.training.learner import Floats


class Teachers:
    """Model folders whose mean answer a network learns to give.

    They see each picture altered as the learner does, and answer with their calibrated
    probabilities: Hinton, Vinyals and Dean, arXiv 1503.02531; Beyer et al., "Knowledge
    distillation: a good teacher is patient and consistent", arXiv 2106.05237.
    """

    def __init__(self, folders: Sequence[Path], shape: tuple[int, int, int]) -> None:
        """Load the folders, for pictures of `shape`. Raises TrainingError for one that is unfit."""
        try:
            self._engines = [Engine(folder) for folder in folders]
        except (CardError, EngineError) as error:
            raise TrainingError(f"no teacher: {error}") from error
        for folder, engine in zip(folders, self._engines, strict=True):
            asked = engine.card.height, engine.card.width, engine.card.channels
            if asked != shape:
                raise TrainingError(
                    f"{folder} is no teacher here: its pictures have the shape {asked}, not {shape}"
                )
        self.versions = sorted(engine.card.version for engine in self._engines)

    def answer(self, pictures: npt.NDArray[np.uint8]) -> Floats:
        """The mean of their probabilities (n, classes) for `pictures` (n, h, w, channels)."""
        found = [engine.probabilities(pictures) for engine in self._engines]
        return np.asarray(np.mean(found, axis=0), np.float32)
