"""What an epoch shows the network; all that is random in it follows from seed and epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from garments.dataset import LABELS, Dataset
from garments.training.augment import augment
from garments.training.learner import Floats
from garments.training.recipe import Recipe

Rows = npt.NDArray[np.intp]

# From this share of the epochs on, and in the last one always, no picture is left out for being
# easy, which evens out what pruning skewed.
PRUNED_UNTIL = 0.875
# A generator takes missing numbers of its seed for zeros: without these, both would draw alike.
_ORDER, _ALTERATIONS = 1, 2


class Examples(Protocol):
    """Labelled pictures that a network learns from or is judged by."""

    shape: tuple[int, int, int]
    """Height, width and channels of a picture."""
    targets: Floats
    """Which outputs of a network are right for each picture: ones and zeros (n, outputs)."""

    def plain(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Pictures as they are served (n, height, width, channels)."""

    def altered(self, rows: Rows, recipe: Recipe, *place: int) -> npt.NDArray[np.uint8]:
        """Pictures as they are trained on; `place`, as of seed, epoch and batch, says how."""


class Catalogue:
    """The pictures of Fashion-MNIST."""

    def __init__(self, dataset: Dataset) -> None:
        self._images = dataset.images
        self.shape = (*dataset.images.shape[1:3], 1)
        self.targets: Floats = np.eye(len(LABELS), dtype=np.float32)[dataset.labels]

    def plain(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Pictures as they are."""
        return self._images[rows][..., None]

    def altered(self, rows: Rows, recipe: Recipe, *place: int) -> npt.NDArray[np.uint8]:
        """Pictures, altered as the recipe says."""
        images = self._images[rows]
        if recipe.shift or recipe.cutout or recipe.camera:
            images = augment(
                images,
                altering(*place),
                shift=recipe.shift,
                cutout=recipe.cutout,
                camera=recipe.camera,
            )
        return images[..., None]


def altering(*place: int) -> np.random.Generator:
    """What is random in the alterations of a batch: `place` is of seed, epoch and batch, say."""
    return np.random.default_rng((_ALTERATIONS, *place))


@dataclass(frozen=True)
class Epoch:
    """The rows that one epoch shows, in order, and how much each of them weighs; both (n,)."""

    rows: Rows
    weights: Floats


def plan(losses: Floats, recipe: Recipe, seed: int, epoch: int) -> Epoch:
    """Choose the rows of an epoch by the `losses` (n,) that each had when it was last shown.

    A share of the pictures easier than the mean is left out, and the others of these weigh the
    more, so that the expected gradient stays: InfoBatch of Qin et al., arXiv 2303.04947.
    Losses that are infinite are of pictures that were not shown yet, which counts as hard.
    """
    random = np.random.default_rng((_ORDER, seed, epoch))
    weights = np.ones(len(losses), np.float32)
    shown = np.ones(len(losses), np.bool_)
    last_pruned = min(PRUNED_UNTIL * recipe.epochs, recipe.epochs - 1)
    known = losses[np.isfinite(losses)]
    if epoch < last_pruned and len(known):
        easy = losses < known.mean()
        shown = ~easy | (random.random(len(losses)) >= recipe.pruned)
        weights[easy] = 1 / (1 - recipe.pruned)
    rows = random.permutation(np.flatnonzero(shown))
    # A last, smaller batch would weigh its pictures more; a later epoch has them.
    whole = max(
        len(rows) // recipe.batch_size * recipe.batch_size, min(len(rows), recipe.batch_size)
    )
    return Epoch(rows[:whole], weights[rows[:whole]])
