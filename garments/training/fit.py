"""Fit a network to the training pictures."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from garments.dataset import Dataset
from garments.network import ARCHITECTURES
from garments.training.augment import Batches


@dataclass(frozen=True)
class Recipe:
    """How an architecture is trained; rates are per step, lengths in pixels."""

    epochs: int
    batch_size: int
    peak_rate: float
    weight_decay: float
    shift: int
    cutout: int


RECIPES: Mapping[str, Recipe] = {
    "reference": Recipe(
        epochs=15,
        batch_size=128,
        peak_rate=0.05,
        weight_decay=0.0,
        shift=0,
        cutout=0,
    ),
    "residual": Recipe(
        epochs=18,  # what two cores do in fifteen minutes when they are shared with others
        batch_size=128,
        peak_rate=0.1,
        weight_decay=5e-4,
        shift=2,
        cutout=6,
    ),
}

History = dict[str, list[float]]


def fit(
    architecture: str,
    recipe: Recipe,
    training: Dataset,
    validation: Dataset,
    classes: int,
    seed: int,
) -> tuple[keras.Model, History]:
    """Train on `training` for the recipe's epochs and keep the last weights.

    Nesterov momentum with a rate that rises for a quarter of the steps and falls along a
    half cosine to nothing. Returns the network (logits) and, by name, a figure an epoch.
    """
    keras.utils.set_random_seed(seed)
    height, width = training.images.shape[1:]
    model = ARCHITECTURES[architecture]((height, width, 1), classes)
    batches = Batches(
        training, classes, recipe.batch_size, seed, shift=recipe.shift, cutout=recipe.cutout
    )
    steps = recipe.epochs * len(batches)
    warm_up = max(1, steps // 4)
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.peak_rate / 25,
        warmup_target=recipe.peak_rate,
        warmup_steps=warm_up,
        decay_steps=max(1, steps - warm_up),
    )
    model.compile(
        optimizer=keras.optimizers.SGD(
            rate, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay or None
        ),
        # Smoothed labels would make a confidence that no single temperature can correct.
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # On a CPU the oneDNN kernels train these networks faster than what XLA compiles.
        jit_compile=False,
    )
    held_out = (validation.images[..., None], np.eye(classes, dtype=np.float32)[validation.labels])
    verbose = 1 if sys.stdout.isatty() else 2  # a bar on a terminal, a line an epoch in a file
    log = model.fit(batches, epochs=recipe.epochs, validation_data=held_out, verbose=verbose)
    return model, {name: [float(value) for value in values] for name, values in log.history.items()}
