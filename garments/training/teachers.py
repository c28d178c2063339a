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

    def __init__(self, folders: Sequence[Path], learnt_from: str) -> None:
        """Load the folders, which must have `learnt_from` the rows of this digest.

        Others may know what a network is judged by. Raises TrainingError for one that is unfit.
        """
        engines = {}
        for folder in folders:
            try:
                engine = Engine(folder)
            except (CardError, EngineError) as error:
                raise TrainingError(f"no teacher: {error}") from error
            if engine.card.training_data_sha256 != learnt_from:
                raise TrainingError(f"{folder} is no teacher here: it learnt from other pictures")
            engines[engine.card.version] = engine
        self.versions = sorted(engines)
        self._engines = [engines[version] for version in self.versions]

    def answer(self, pictures: npt.NDArray[np.uint8]) -> Floats:
        """The mean of their probabilities (n, classes) for `pictures` (n, h, w, channels)."""
        found = [engine.probabilities(pictures) for engine in self._engines]
        return np.asarray(np.mean(found, axis=0), np.float32)
