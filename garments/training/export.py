"""Write a trained network as the model folder that the service reads."""

from __future__ import annotations

import base64
import logging
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import onnx
from keras import ops

from garments.card import KERAS_NAME, ONNX_NAME, Card, version_of
from garments.dataset import LABELS, Dataset
from garments.network import multiply_accumulates, with_probabilities
from garments.training.calibrate import choose_threshold, fit_temperature
from garments.training.learner import AT_ONCE


@dataclass(frozen=True)
class Origin:
    """Where a network came from, for its card."""

    architecture: str
    training_data_sha256: str
    seed: int
    epochs: int
    backend: str


@dataclass(frozen=True)
class Calibration:
    """What makes probabilities of a network's logits, and decisions of these."""

    temperature: float
    accept_threshold: float
    accept_threshold_chosen_by: str


def calibration_on(network: keras.Model, validation: Dataset) -> Calibration:
    """Calibrate `network` (logits) on pictures that it was not trained on."""
    logits = network.predict(validation.images[..., None], batch_size=AT_ONCE, verbose=0)
    targets = np.eye(len(LABELS))[validation.labels]
    temperature = fit_temperature(logits, targets)
    found = np.asarray(ops.softmax(logits / temperature, axis=1))
    right = found.argmax(axis=1) == validation.labels
    return Calibration(
        temperature,
        choose_threshold(found.max(axis=1), right),
        f"the lowest confidence from which on answers on the {len(validation):,} validation "
        "pictures err at most 1 %, by the upper 95 % bound of Clopper and Pearson",
    )


def export(
    network: keras.Model,
    calibration: Calibration,
    golden: npt.NDArray[np.uint8],
    origin: Origin,
    name: str,
    folder: Path,
) -> Card:
    """Fill `folder` with the calibrated `network` and a card, which is returned.

    `golden` (1, height, width, channels) is the picture that the card keeps the answer for. The
    card has no scores yet: it is the folder that is scored, as it will be served.
    """
    model = with_probabilities(network, calibration.temperature, len(LABELS))
    folder.mkdir(parents=True)
    model.save(folder / KERAS_NAME)
    write_onnx(model, folder / ONNX_NAME)
    height, width, channels = model.input_shape[1:]
    card = Card(
        name=name,
        version=version_of(folder / ONNX_NAME),
        labels=list(LABELS),
        height=height,
        width=width,
        channels=channels,
        preprocessing="fashion-mnist" if channels == 1 else "photo",
        **asdict(calibration),
        golden_input=base64.b64encode(golden.tobytes()).decode("ascii"),
        golden_probabilities=model.predict(golden, verbose=0)[0].astype(float).tolist(),
        parameters=model.count_params(),
        multiply_accumulates=multiply_accumulates(model),
        training_data_sha256=origin.training_data_sha256,
        architecture=origin.architecture,
        seed=origin.seed,
        epochs=origin.epochs,
        backend=f"{origin.backend}, Keras {keras.__version__}",
        validation={},
        scores={},
        runs=[],
    )
    card.write(folder)
    return card


def write_onnx(model: keras.Model, path: Path) -> None:
    """Write `model` as an ONNX graph with a free batch size."""
    signature = [keras.InputSpec(dtype=model.input.dtype, shape=model.input.shape, name="pictures")]
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # tf2onnx still asks numpy for names that numpy is about to give another meaning.
        warnings.simplefilter("ignore", FutureWarning)
        model.export(path, format="onnx", input_signature=signature, verbose=False)
    # It counts TensorFlow's traces so far; the same weights shall have the same version.
    graph = onnx.load(path)
    graph.graph.doc_string = ""
    onnx.save(graph, path)
