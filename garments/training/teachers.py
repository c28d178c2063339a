"""Networks that another one learns from: distillation."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np

from garments.card import KERAS_NAME, CardError
from garments.engine import Engine, EngineError
from garments.training.learner import AT_ONCE, Floats, Pictures
from garments.training.recipe import RECIPES
from garments.training_request import TrainingError

_THREADS = 4


class Teachers:
    """Model folders whose mean answer a network learns to give.

    They see each picture altered as the learner does, and answer with their calibrated
    probabilities: Hinton, Vinyals and Dean, arXiv 1503.02531; Beyer et al., "Knowledge
    distillation: a good teacher is patient and consistent", arXiv 2106.05237.
    """

    def __init__(self, folders: Sequence[Path], learnt_from: str, backend: str) -> None:
        """Load the folders, which must have `learnt_from` the rows of this digest.

        Others may know what a network is judged by. Where the `backend` has an accelerator, it
        answers. Raises TrainingError for one that is unfit.
        """
        accelerated = backend == "torch" and _has_accelerator()
        found = {}
        for folder in folders:
            try:
                engine = Engine(folder)
            except (CardError, EngineError) as error:
                raise TrainingError(f"no teacher: {error}") from error
            if engine.card.training_data_sha256 != learnt_from:
                raise TrainingError(f"{folder} is no teacher here: it learnt from other pictures")
            found[engine.card.version] = in_floats(folder) if accelerated else engine.probabilities
        self.versions = sorted(found)
        # Integers and floats of one version answer differently.
        self.in_floats = accelerated
        self._answers = [found[version] for version in self.versions]

    def answer(self, pictures: Pictures) -> Floats:
        """The mean of their probabilities (n, classes) for `pictures` (n, h, w, channels)."""

        def mean(part: Pictures) -> Floats:
            found = [answer(part) for answer in self._answers]
            return np.asarray(np.mean(found, axis=0), np.float32)

        parts = np.array_split(pictures, max(1, len(pictures) // AT_ONCE))
        # What is between the layers of a large teacher takes half a gigabyte a thread.
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            return np.concatenate(list(pool.map(mean, parts)))


def _has_accelerator() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def in_floats(folder: Path) -> Callable[[Pictures], Floats]:
    """The network that the integers of `folder` were made of, on PyTorch: its probabilities.

    It multiplies in bfloat16 where the processor has units for that, as accelerators have: the
    answers that are kept were given so. Raises TrainingError where it cannot be read.
    """
    from garments.training.torch_learner import TorchLearner

    try:
        network = keras.models.load_model(folder / KERAS_NAME)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise TrainingError(f"no teacher: {folder / KERAS_NAME} cannot be read") from error
    return TorchLearner(network, RECIPES["residual"], seed=0).logits
