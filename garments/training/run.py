"""One training run, from the CSVs to a model folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from garments import dataset, report
from garments.card import CARD_NAME
from garments.training.export import Origin, evaluate, export
from garments.training.fit import RECIPES, fit

VALIDATION = 5_000


class TrainingError(Exception):
    """Training was asked for what it cannot do; the text says what."""


def train(
    folder: Path,
    data_directory: Path,
    dataset_directory: Path | None = None,
    *,
    architecture: str,
    seed: int = 0,
    epochs: int | None = None,
    validation: int = VALIDATION,
) -> report.Scores:
    """Train `architecture` and replace the model folder `folder`; return the test scores.

    Everything is chosen on `validation` rows held out of the training CSV; the test CSV is
    opened once, at the end. The folder is replaced when the new one is whole, plots included.
    Raises DatasetError and TrainingError.
    """
    recipe = RECIPES[architecture]
    if not 0 <= seed < 2**32:
        raise TrainingError(f"the seed {seed} is not from 0 to {2**32 - 1}")
    if folder.exists() and not (folder / CARD_NAME).exists():
        raise TrainingError(f"{folder} is no model folder: it is not replaced; choose another name")
    if epochs is not None:
        if epochs < 1:
            raise TrainingError(f"{epochs} epochs: train for at least 1")
        recipe = replace(recipe, epochs=epochs)
    rows = dataset.load("train", data_directory, dataset_directory)
    training, held_out = dataset.split(rows, validation, seed)
    network, history = fit(architecture, recipe, training, held_out, len(dataset.LABELS), seed)

    # The service passes over folders whose name begins with a dot.
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        origin = Origin(architecture, rows.digest, seed, recipe.epochs)
        card = export(network, held_out, origin, folder.name, partial)
        scores = evaluate(partial, card, dataset.load("test", data_directory, dataset_directory))
        report.plot_learning_curves(history, partial / "learning_curves.png")
        report.plot_confusion(scores.confusion, dataset.LABELS, partial / "confusion_matrix.png")
        _swap(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return scores


def _swap(new: Path, folder: Path) -> None:
    """Put `new` in the place of `folder`, which need not exist."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
