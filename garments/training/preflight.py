"""What would fail at the end of a training, found before it begins."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import keras

from garments.card import CARD_NAME, CardError, read_card
from garments.training.replacing import restore
from garments.training_request import BACKENDS, TrainingError, check_numbers


def check(
    folder: Path,
    seeds: Sequence[int],
    epochs: int | None,
    backend: str,
    *,
    for_photos: bool = False,
) -> None:
    """Refuse at once what would otherwise fail after hours. Raises TrainingError.

    An old model that a killed run left beside `folder` is put back first.
    """
    check_numbers(seeds, epochs, for_photos=for_photos)
    if keras.backend.backend() != "tensorflow":
        raise TrainingError(
            f"Keras runs on {keras.backend.backend()} here, and can only export from TensorFlow: "
            "set KERAS_BACKEND to tensorflow"
        )
    form = keras.config.floatx(), keras.config.image_data_format()
    if form != ("float32", "channels_last"):
        raise TrainingError(
            f"keras.json, in ~/.keras or KERAS_HOME, sets {' and '.join(form)}: networks are made "
            "for float32 and channels_last; correct or remove it"
        )
    if importlib.util.find_spec(backend) is None:
        raise TrainingError(
            f"the backend {backend} is not installed: install PyTorch with make torch, "
            f"or train with --backend {BACKENDS[0]}"
        )
    restore(folder)
    if folder.exists() and not (folder / CARD_NAME).exists():
        raise TrainingError(f"{folder} is no model folder: it is not replaced; choose another name")
    with suppress(CardError):  # of nothing that is served
        if (read_card(folder).preprocessing == "photo") != for_photos:
            held = "Fashion-MNIST pictures" if for_photos else "photos"
            raise TrainingError(
                f"{folder} holds a model for {held}: it is not replaced; choose another --name"
            )
    try:
        beside = folder.resolve().parent
        beside.mkdir(parents=True, exist_ok=True)
        # The service passes over it, and a name that is too long in the end is too long for it.
        with TemporaryDirectory(dir=beside, prefix=f".{folder.name}."):
            pass
    except OSError as error:
        raise TrainingError(
            f"no model can be written into {folder.parent} ({error.strerror}): "
            "see GARMENTS_MODEL_DIR"
        ) from error
