"""How each architecture is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

# Share of the loss that is the cross-entropy to what teachers answer; the rest is of the labels.
TEACHERS_SHARE = 0.75
VALIDATION = 5_000
"""Rows of the training CSV that are held out."""
# One split for all seeds, so that no network is judged by what another was trained on.
SPLIT_SEED = 0


@dataclass(frozen=True)
class Recipe:
    """What a run of training does; all of it was chosen on the validation pictures."""

    epochs: int
    batch_size: int
    learning_rate: float
    """Peak rate of stochastic gradient descent, a step."""
    weight_decay: float
    muon_learning_rate: float = 0.0
    """Peak step of a convolution's kernel, relative to its norm; 0 trains it like the rest."""
    shift: int = 0
    """Pixels, either way."""
    cutout: int = 0
    """Side of the blanked square, in pixels."""
    camera: float = 0.0
    """Share of the pictures that are altered as a camera would."""
    pruned: float = 0.0
    """Share of the pictures easier than the mean that an epoch leaves out."""
    pretrained: bool = False
    """Whether to begin with the ImageNet weights, and leave the first layers as they are."""
    adam: bool = False
    """Whether to divide each step by the gradient's usual size, as AdamW does."""
    averaged: int = 1
    """Networks, each from a seed of its own, whose weights are averaged; of photos alone, and
    of use where all begin with the same pretrained weights."""
    bfloat16: bool = False
    """Whether to multiply in bfloat16, where the processor has units for that."""

    def __post_init__(self) -> None:
        """Raise ValueError for a recipe that the backends would carry out differently."""
        if self.adam and self.muon_learning_rate:
            raise ValueError("with adam all weights step alike: muon_learning_rate must be 0")

    def quick(self) -> Recipe:
        """A few minutes' worth: few epochs have no time for hard pictures, nor for small steps."""
        return replace(
            self,
            epochs=3,
            muon_learning_rate=3 * self.muon_learning_rate,
            shift=min(self.shift, 1),
            cutout=0,
            camera=0.0,
            averaged=1,
        )


_RESIDUAL = Recipe(
    epochs=120,
    batch_size=128,
    learning_rate=0.1,
    weight_decay=5e-4,
    muon_learning_rate=0.01,
    shift=2,
    cutout=8,
    camera=0.25,
    pruned=0.5,
    bfloat16=True,
)

_EFFICIENTNET_LITE = Recipe(
    epochs=10,
    batch_size=32,
    learning_rate=3e-4,
    weight_decay=0.05,
    pretrained=True,
    adam=True,
    averaged=2,
    bfloat16=True,
)

RECIPES: Mapping[str, Recipe] = {
    "reference": Recipe(epochs=15, batch_size=128, learning_rate=0.05, weight_decay=0.0),
    "residual": _RESIDUAL,
    "residual-fine": _RESIDUAL,
    "residual-large": replace(_RESIDUAL, epochs=38, cutout=12),
    "efficientnet-lite0": _EFFICIENTNET_LITE,
    "efficientnet-lite1": _EFFICIENTNET_LITE,
}


def recipe_of(architecture: str, *, quick: bool, epochs: int | None) -> Recipe:
    """How `architecture` is trained: a `quick` run if so wished, and for `epochs` if given."""
    recipe = RECIPES[architecture].quick() if quick else RECIPES[architecture]
    return recipe if epochs is None else replace(recipe, epochs=epochs)
