"""Write a trained network as the model folder that the service reads."""

from __future__ import annotations

import base64
import logging
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import onnx

from garments.card import KERAS_NAME, ONNX_NAME, Card, version_of
from garments.dataset import LABELS, Dataset
from garments.engine import Graph
from garments.network import multiply_accumulates, with_probabilities
from garments.training.calibrate import (
    LEVEL,
    choose_threshold,
    fit_temperature,
    highest_temperature,
    told_of,
)
from garments.training.learner import AT_ONCE, Pictures
from garments.training.quantize import quantize

_INPUT = "pictures"


@dataclass(frozen=True)
class Origin:
    """Where a network came from, for its card."""

    architecture: str
    training_data_sha256: str
    seed: int
    epochs: int
    backend: str
    averaged: int = 1
    taught_by: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Calibration:
    """What makes probabilities of a network's logits, and decisions of these."""

    temperature: float
    accept_threshold: float
    accept_threshold_chosen_by: str


def export(
    network: keras.Model,
    validation: Dataset,
    origin: Origin,
    name: str,
    folder: Path,
    *,
    among: int = 1,
) -> None:
    """Calibrate `network` (logits) on `validation`, and fill `folder` with model and card.

    It may be one `among` several of which the same pictures will choose one, and so flatter it:
    then it is less sure than they suggest, and what is promised of accepting holds for them all.

    What is served is the network in integers, so that chooses the threshold and gives the golden
    answer. The card has no scores yet: it is the folder that is scored, as it will be served.
    Raises OSError where something cannot be written, and EngineError where what is written cannot
    be loaded.
    """
    pictures = validation.images[..., None]
    logits = network.predict(pictures, batch_size=AT_ONCE, verbose=0)
    calibrate = fit_temperature if among == 1 else highest_temperature
    temperature = calibrate(logits, np.eye(len(LABELS))[validation.labels])
    model = with_probabilities(network, temperature)
    write_model(model, pictures, folder)
    found = probabilities_of(folder, pictures)
    right = found.argmax(axis=1) == validation.labels
    level = 1 - (1 - LEVEL) / among  # Bonferroni's correction
    threshold = choose_threshold(found.max(axis=1), right, level=level)
    rule = (
        f"confidence from which on answers on the {len(validation):,} validation "
        f"pictures err at most 1 %, by the upper {100 * level:.3g} % bound of Clopper and Pearson"
    )
    calibration = Calibration(temperature, threshold, told_of(threshold, rule))
    card_of(model, calibration, pictures[:1], "fashion-mnist", origin, name, folder).write(folder)


def write_model(model: keras.Model, pictures: Pictures, folder: Path) -> None:
    """Fill `folder` with `model` (probabilities), for Keras and in integers for ONNX Runtime.

    `pictures` (n, height, width, channels) show what the integers have to reach.
    """
    folder.mkdir(parents=True)
    model.save(folder / KERAS_NAME)
    write_onnx(model, folder / ONNX_NAME)
    quantize(folder / ONNX_NAME, pictures, _INPUT)


def probabilities_of(folder: Path, pictures: Pictures) -> npt.NDArray[np.float32]:
    """What the model in `folder` answers as it is served (n, classes)."""
    return Graph(folder / ONNX_NAME).probabilities(pictures)


def card_of(
    model: keras.Model,
    calibration: Calibration,
    golden: Pictures,
    preprocessing: str,
    origin: Origin,
    name: str,
    folder: Path,
) -> Card:
    """The card of the model in `folder`, without scores yet.

    `golden` (1, height, width, channels) is the picture whose answer it keeps.
    """
    height, width, channels = model.input_shape[1:]
    return Card(
        name=name,
        version=version_of(folder / ONNX_NAME),
        labels=list(LABELS),
        height=height,
        width=width,
        channels=channels,
        preprocessing=preprocessing,
        **asdict(calibration),
        golden_input=base64.b64encode(golden.tobytes()).decode("ascii"),
        golden_probabilities=probabilities_of(folder, golden)[0].astype(float).tolist(),
        parameters=model.count_params(),
        multiply_accumulates=multiply_accumulates(model),
        precision="int8",
        **asdict(replace(origin, backend=f"{origin.backend}, Keras {keras.__version__}")),
        validation={},
        scores={},
        runs=[],
    )


def write_onnx(model: keras.Model, path: Path) -> None:
    """Write `model` as an ONNX graph with a free batch size."""
    signature = [keras.InputSpec(dtype=model.input.dtype, shape=model.input.shape, name=_INPUT)]
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # tf2onnx still asks numpy for names that numpy is about to give another meaning.
        warnings.simplefilter("ignore", FutureWarning)
        model.export(path, format="onnx", input_signature=signature, verbose=False)
    found = onnx.load(path)
    _name_by_place(found.graph)
    onnx.save(found, path)


def _name_by_place(graph: onnx.GraphProto) -> None:
    """Name what is in `graph` by its place there, since the same weights shall have one version.

    Keras, TensorFlow and tf2onnx number what they name, and count on from all that the process has
    made before.
    """
    graph.doc_string = ""
    outside = [*graph.input, *graph.output]
    names: dict[str, str] = {value.name: value.name for value in outside}
    names[""] = ""  # stands for an optional input that is not there

    def renamed(name: str) -> str:
        return names.setdefault(name, f"value_{len(names)}")

    for place, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{place}"
        node.input[:] = map(renamed, node.input)
        node.output[:] = map(renamed, node.output)
    for tensor in graph.initializer:
        tensor.name = renamed(tensor.name)
    tensors = sorted(graph.initializer, key=lambda tensor: tensor.name)
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(tensors)
    for value in outside:
        value.type.tensor_type.shape.dim[0].dim_param = "pictures"
