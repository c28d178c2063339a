"""Write a trained network as the model folder that the service reads."""

from __future__ import annotations

import base64
import logging
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from garments import report
from garments.card import KERAS_NAME, ONNX_NAME, Card, version_of
from garments.dataset import LABELS, Dataset
from garments.engine import Engine
from garments.network import multiply_accumulates, with_probabilities
from garments.training.calibrate import choose_threshold, fit_temperature

BATCH = 500


@dataclass(frozen=True)
class Origin:
    """Where a network came from, for its card."""

    architecture: str
    training_data_sha256: str
    seed: int
    epochs: int


def export(
    network: keras.Model, validation: Dataset, origin: Origin, name: str, folder: Path
) -> Card:
    """Calibrate `network` (logits) on `validation`, and fill `folder` with model and card.

    The card's scores are empty until `evaluate` has opened the test set.
    """
    logits = network.predict(validation.images[..., None], batch_size=BATCH, verbose=0)
    temperature = fit_temperature(logits, validation.labels)
    model = with_probabilities(network, temperature)
    found = np.asarray(ops.softmax(logits / temperature, axis=1))
    threshold = choose_threshold(found.max(axis=1), found.argmax(axis=1) == validation.labels)

    folder.mkdir(parents=True)
    model.save(folder / KERAS_NAME)
    write_onnx(model, folder / ONNX_NAME)
    height, width, channels = model.input_shape[1:]
    golden = validation.images[:1, ..., None]
    card = Card(
        name=name,
        version=version_of(folder / ONNX_NAME),
        labels=list(LABELS),
        height=height,
        width=width,
        channels=channels,
        preprocessing="fashion-mnist",
        accept_threshold=threshold,
        accept_threshold_chosen_by=(
            f"the lowest confidence from which on answers on the {len(validation):,} validation "
            "pictures err at most 1 %, by the upper 95 % bound of Clopper and Pearson"
        ),
        temperature=temperature,
        golden_input=base64.b64encode(golden.tobytes()).decode("ascii"),
        golden_probabilities=model.predict(golden, verbose=0)[0].astype(float).tolist(),
        parameters=model.count_params(),
        multiply_accumulates=multiply_accumulates(model),
        training_data_sha256=origin.training_data_sha256,
        architecture=origin.architecture,
        seed=origin.seed,
        epochs=origin.epochs,
        backend=f"{keras.backend.backend()}, Keras {keras.__version__}",
        scores={},
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


def evaluate(folder: Path, card: Card, test: Dataset) -> report.Scores:
    """Score what will be served on the test set, and complete the card with it."""
    engine = Engine(folder)
    found = np.concatenate(
        [
            engine.probabilities(test.images[start : start + BATCH, ..., None])
            for start in range(0, len(test), BATCH)
        ]
    )
    predicted, confidence = found.argmax(axis=1), found.max(axis=1)
    accepted = engine.accepted(test.images[..., None], found)
    scores = report.score(test.labels, predicted, accepted, len(LABELS))
    likelihood = found[np.arange(len(test)), test.labels]
    replace(
        card,
        scores={
            "count": scores.count,
            "accuracy": scores.accuracy,
            "loss": float(-np.log(np.maximum(likelihood, 1e-12)).mean()),
            "expected_calibration_error": report.expected_calibration_error(
                confidence, predicted == test.labels
            ),
            "accepted": scores.accepted_share,
            "accepted_accuracy": scores.accepted_accuracy,
            "per_class": {
                label: _of_class(scores, number, test.labels, accepted)
                for number, label in enumerate(LABELS)
            },
        },
    ).write(folder)
    return scores


def _of_class(
    scores: report.Scores,
    number: int,
    labels: npt.NDArray[np.uint8],
    accepted: npt.NDArray[np.bool_],
) -> dict[str, float | None]:
    own = accepted[labels == number]
    return {
        "precision": scores.precision[number],
        "recall": scores.recall[number],
        "f1": scores.f1[number],
        "accepted": float(own.mean()) if len(own) else None,
    }
