"""One network fitted to photos, and what tells its state from another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np

from garments.dataset import Dataset
from garments.network import ARCHITECTURES
from garments.training import checkpoint
from garments.training.checkpoint import checkpoint_path
from garments.training.fit import fit, is_finished
from garments.training.kinds import Kind
from garments.training.learner import Floats
from garments.training.photos import Photo, digest_of
from garments.training.recipe import Recipe
from garments.training.scenes import Size
from garments.training.shown import Photos
from garments.training.side_by_side import pays, side_by_side


@dataclass(frozen=True)
class PhotoFit:
    """How every network of a run is fitted, whichever photos it is for."""

    architecture: str
    recipe: Recipe
    seed: int
    backend: str
    data_directory: Path
    """Where the state of each fit is kept."""
    kinds: Sequence[Kind]
    catalogue: Dataset
    """What shots are drawn from."""
    shots: int
    size: Size

    def fitted(self, photos: Sequence[Photo]) -> tuple[keras.Model, list[str]]:
        """The network, and what trained it. Raises TrainingError.

        Where an earlier call was interrupted, it goes on.
        """
        # Runs of different seeds share no network, but for those so large that they go round.
        first = self.seed * self.recipe.averaged
        seeds = [(first + number) % 2**32 for number in range(self.recipe.averaged)]
        if self.backend == "torch" and len(seeds) > 1 and pays():
            left = [
                seed for seed in seeds if not is_finished(self._state(photos, seed), self.recipe)
            ]
            side_by_side([partial(self._fit, photos, seed) for seed in left], share=len(seeds))
        found = [self._fit(photos, seed) for seed in seeds]
        network = ARCHITECTURES[self.architecture]((*self.size, 3), len(self.kinds))
        # From the same pretrained weights they end so near to each other that the mean is nearly
        # as good as asking all of them: "model soups" of Wortsman et al., arXiv 2203.05482.
        weights = zip(*(weights for weights, _ in found), strict=True)
        network.set_weights([np.mean(same, axis=0) for same in weights])
        return network, [backend for _, backends in found for backend in backends]

    def _fit(self, photos: Sequence[Photo], seed: int) -> tuple[list[Floats], list[str]]:
        examples = Photos(photos, self.size, self.shots, self.catalogue, self.kinds)
        state = self._state(photos, seed)
        with checkpoint.locked(state):
            found = fit(
                self.architecture,
                self.recipe,
                examples,
                None,
                seed=seed,
                backend=self.backend,
                checkpoint_file=state,
            )
        weights = found.network.get_weights()
        keras.utils.clear_session()
        return weights, found.backends

    def _state(self, photos: Sequence[Photo], seed: int) -> Path:
        digest = trained_on(photos, self.kinds, self.catalogue, self.size, self.shots)
        return checkpoint_path(self.data_directory, self.architecture, self.recipe, digest, seed)


def trained_on(
    photos: Sequence[Photo], kinds: Sequence[Kind], catalogue: Dataset, size: Size, shots: int
) -> str:
    """What tells the state of one fit from another's.

    The kinds too, which depend on photos that are held out: they are what the outputs mean.
    """
    told_apart = " ".join(map(str, kinds))
    return f"{digest_of(photos)} {catalogue.digest} {size} {shots} {told_apart}"
