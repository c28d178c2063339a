"""What `train_model.py` asks for, and what it tells of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from garments import report
from garments.dataset import LABELS, DatasetError
from garments.training.photo_run import train_on_photos
from garments.training.run import train
from garments.training_request import Request, TrainingError


def carry_out(
    models: Path, data_directory: Path, dataset_directory: Path | None, request: Request
) -> str:
    """Train on the photos of `request`, else on Fashion-MNIST, and tell the scores as text.

    The model goes into a folder in `models`; where no name is given, into that which is served.
    It trusts what `training_request.check` lets pass. Raises TrainingError, also for data that
    cannot be used: whoever asks need not load what reads data to know of it.
    """
    folder, data = models / request.folder_name, (data_directory, dataset_directory)
    how: dict[str, Any] = {
        "architecture": request.network,
        "seeds": request.trained_seeds,
        "epochs": request.epochs,
        "quick": request.quick,
        "backend": request.backend,
    }
    try:
        if request.photos:
            _, judged = train_on_photos(folder, request.photos, *data, **how)
            return judged.as_text()
        card, scores = train(folder, *data, **how, teachers=request.teachers)
    except DatasetError as error:
        raise TrainingError(str(error)) from error
    return f"{report.as_text(scores, LABELS)}\n\n{report.seeds_as_text(card.runs)}"
