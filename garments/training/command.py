"""What `train_model.py` asks for, and what it tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from garments import report
from garments.dataset import LABELS, DatasetError
from garments.training.photo_run import train_on_photos
from garments.training.run import train
from garments.training_request import TrainingError


def carry_out(
    models: Path,
    data_directory: Path,
    dataset_directory: Path | None,
    *,
    name: str | None,
    photos: Sequence[Path] | None,
    architecture: str | None,
    seeds: Sequence[int] | None,
    epochs: int | None,
    quick: bool,
    backend: str,
    teachers: Sequence[Path] | None,
) -> str:
    """Train on `photos`, else on Fashion-MNIST, and tell the scores as text.

    The model goes into the folder `name` in `models`; without one, into that which is served.
    It trusts what `training_request.check` lets pass. Raises TrainingError, also for data that
    cannot be used: whoever asks need not load what reads data to know of it.
    """
    if name is None:
        name = "photo" if photos else "fashion-mnist"
    folder, places = models / name, (data_directory, dataset_directory)
    seeds = seeds or (0,)
    try:
        if photos:
            _, judged = train_on_photos(
                folder,
                photos,
                *places,
                architecture=architecture or "efficientnet-lite0",
                seeds=seeds,
                epochs=epochs,
                quick=quick,
                backend=backend,
            )
            return judged.as_text()
        card, scores = train(
            folder,
            *places,
            architecture=architecture or "residual",
            seeds=seeds,
            epochs=epochs,
            quick=quick,
            backend=backend,
            teachers=teachers or (),
        )
    except DatasetError as error:
        raise TrainingError(str(error)) from error
    return f"{report.as_text(scores, LABELS)}\n\n{report.seeds_as_text(card.runs)}"
