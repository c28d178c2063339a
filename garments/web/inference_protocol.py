"""The Open Inference Protocol, version 2, over HTTP: the endpoints below `/v2`.

It is what clients of Triton, MLServer and KServe speak (kserve/open-inference-protocol,
specification/protocol/inference_rest.md). Data stands in the JSON; the extension for binary data is
not spoken. Every error is `{"error": "…"}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from flask import Blueprint, Response, jsonify, request

from garments.card import Card
from garments.engine import Answer, Engine
from garments.preprocess import Limits
from garments.settings import Settings
from garments.web.access_log import answered, brought
from garments.web.batching import ask
from garments.web.classify import classify
from garments.web.deadline import time_limit
from garments.web.lifecycle import Lifecycle
from garments.web.models import Models
from garments.web.problems import Refusal, draining
from garments.web.uploads import Upload, from_base64, read_json, too_many

# What an answer can hold, by name: its datatype, and its values for a picture.
OUTPUTS: Mapping[str, tuple[str, Callable[[Answer], Any]]] = {
    "prediction": ("INT64", lambda answer: answer.top[0].prediction),
    "label": ("BYTES", lambda answer: answer.top[0].label),
    "confidence": ("FP32", lambda answer: answer.top[0].told),
    "decision": ("BYTES", lambda answer: answer.decision),
    # In the order of the classes, with whose number each choice begins.
    "probabilities": ("FP32", lambda answer: [choice.told for choice in sorted(answer.top)]),
}
IMAGES = "images"
"""The input that takes files as base64: BYTES (n)."""
PIXELS = "pixels"
"""The input that takes what a model sees: UINT8 (n, height, width, channels)."""


def build(settings: Settings, models: Models, lifecycle: Lifecycle, limits: Limits) -> Blueprint:
    """The endpoints, on the models and limits of the rest of the service."""
    v2 = Blueprint("v2", __name__, url_prefix="/v2")

    @v2.get("")
    def server() -> Response:
        # The version is the protocol's: the service's own is nobody's business.
        return jsonify(name="garments", version="2", extensions=[])

    @v2.get("/health/live")
    def live() -> Response:
        return jsonify(live=True)

    @v2.get("/health/ready")
    def ready() -> Response:
        if lifecycle.draining:
            raise draining()
        models.candidates()  # which refuses while nothing could be answered
        return jsonify(ready=True)

    @v2.get("/models/<name>")
    @v2.get("/models/<name>/versions/<version>")
    def metadata(name: str, version: str = "") -> Response:
        return jsonify(_metadata(_engine(models, name, version).card))

    @v2.get("/models/<name>/ready")
    @v2.get("/models/<name>/versions/<version>/ready")
    def model_ready(name: str, version: str = "") -> Response:
        engine = _engine(models, name, version)
        return jsonify(name=engine.card.name, ready=True)

    @v2.post("/models/<name>/infer")
    @v2.post("/models/<name>/versions/<version>/infer")
    def infer(name: str, version: str = "") -> Response:
        engine = _engine(models, name, version)
        asked = _read(engine.card, settings.max_images)
        names = _names(asked)  # before any work is done
        answers = _answers(engine, asked, settings.max_images, limits)
        answered([engine.card] * len(answers), answers)
        return jsonify(
            model_name=engine.card.name,
            model_version=engine.card.version,
            **({"id": asked["id"]} if "id" in asked else {}),
            outputs=[_output(name, answers) for name in names],
        )

    return v2


def _engine(models: Models, name: str, version: str) -> Engine:
    engine = models.named(name)
    if version not in ("", engine.card.version):
        known = f"the version of {name} that is served is {engine.card.version}"
        raise Refusal("unknown_model", known)
    return engine


def _metadata(card: Card) -> dict[str, Any]:
    shape = [-1, card.height, card.width, card.channels]
    return {
        "name": card.name,
        "versions": [card.version],
        "platform": "onnx_onnxv1",
        # A request has one of the two.
        "inputs": [
            {"name": IMAGES, "datatype": "BYTES", "shape": [-1]},
            {"name": PIXELS, "datatype": "UINT8", "shape": shape},
        ],
        "outputs": [
            {
                "name": name,
                "datatype": datatype,
                "shape": [-1, len(card.labels)] if name == "probabilities" else [-1],
            }
            for name, (datatype, _) in OUTPUTS.items()
        ],
    }


def _read(card: Card, max_images: int) -> dict[str, Any]:
    """The JSON of a request, as far as it does not depend on the input. Raises Refusal."""
    if "Inference-Header-Content-Length" in request.headers:
        raise _malformed("binary data is not spoken here: send it in the JSON (binary_data=False)")
    # Some clients of the protocol give no type at all.
    if request.mimetype not in ("application/json", ""):
        raise Refusal("unsupported_media_type", "send JSON with Content-Type: application/json")
    pixels = card.height * card.width

    def most(length: int) -> dict[bytes, int]:
        # Around each picture, each of its rows and each pixel, where a tensor is nested.
        lists = max_images * (1 + card.height + pixels)
        # Nearly all are around pixels, with digits and commas in them.
        of_that_length = length // (2 * card.channels + 1)
        return {
            b",": max_images * pixels * card.channels + 1000,
            b"[": min(lists, of_that_length) + 1000,
            b"{": 1000,
            b'"': 2 * max_images + 1000,
        }

    asked = read_json(request, max_images=max_images, most=most)
    if not isinstance(asked, dict) or not isinstance(asked.get("id", ""), str):
        raise _malformed(
            'the JSON must be {"inputs": [{…}]}, with an "id" that is a string, if any'
        )
    return asked


def _names(asked: Mapping[str, Any]) -> list[str]:
    """The outputs that a request wants; all if it names none. Raises Refusal."""
    wanted = asked.get("outputs", [])
    if not isinstance(wanted, list):
        raise _malformed("outputs must be a list")
    names: dict[str, None] = {}  # a set that keeps the order
    for one in wanted:
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str) or name not in OUTPUTS:
            raise _malformed(f"each of the outputs must have one of the names {', '.join(OUTPUTS)}")
        names[name] = None
    return list(names or OUTPUTS)


def _answers(
    engine: Engine, asked: Mapping[str, Any], max_images: int, limits: Limits
) -> list[Answer]:
    """An answer for each picture. Raises Refusal and BadImage, if only for one of them."""
    classes = len(engine.card.labels)
    inputs = asked.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise _malformed(f"inputs must be a list of one input, {IMAGES} or {PIXELS}")
    tensor = inputs[0]
    name, datatype, data = (tensor.get(key) for key in ("name", "datatype", "data"))
    if (name, datatype) not in ((IMAGES, "BYTES"), (PIXELS, "UINT8")):
        raise _malformed(f"the input must be {IMAGES} with BYTES or {PIXELS} with UINT8")
    shape = _shape(tensor, max_images)
    if not isinstance(data, list):
        raise _malformed("data must be a list")
    if name == PIXELS:
        pictures = _pixels(engine.card, shape, data)
        brought(len(pictures))
        return ask(engine, pictures, classes)
    nested = shape[1:] == [1] and all(isinstance(row, list) and len(row) == 1 for row in data)
    flat = [row[0] for row in data] if nested else data
    if len(flat) != shape[0] or shape[1:] not in ([], [1]):
        raise _malformed(f"{IMAGES} has {len(flat)} files, which is not its shape [n] or [n, 1]")
    uploads = [Upload(None, from_base64(text)) for text in flat]
    brought(len(uploads))
    answers = []
    results = classify(engine, uploads, limits=limits, top=classes, until=time_limit(request))
    for place, result in enumerate(results):
        if not isinstance(result, Answer):
            raise Refusal(result.code, f"picture {place}, counted from 0: {result}")
        answers.append(result)
    return answers


def _shape(tensor: Mapping[str, Any], max_images: int) -> list[int]:
    shape = tensor.get("shape")
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= 4
        or not all(type(side) is int and side >= 1 for side in shape)
    ):
        raise _malformed("shape must be a list of up to four whole numbers from 1 on")
    if shape[0] > max_images:
        raise too_many(shape[0], max_images)
    return shape


def _pixels(card: Card, shape: list[int], data: Sequence[Any]) -> npt.NDArray[np.uint8]:
    """The tensor that `data` holds, flat or nested. Raises Refusal."""
    if shape[1:] != [card.height, card.width, card.channels]:
        wanted = f"[n, {card.height}, {card.width}, {card.channels}]"
        raise _malformed(f"{PIXELS} has the shape {shape}, and not {wanted}")
    try:
        values = bytearray(_flat(shape, data))
    except ValueError as error:
        raise _malformed(f"the data of {PIXELS} are not from 0 to 255") from error
    return np.frombuffer(values, np.uint8).reshape(shape)


def _flat(shape: list[int], data: Sequence[Any]) -> Sequence[int]:
    """The numbers of `data`, as many as its shape says and nested like it or flat. Raises Refusal.

    NumPy is not asked, since it makes room for whatever it is given before it says what that is:
    beside one long string, as much for each of the others.
    """
    sides = [len(data)]
    while list in (kinds := set(map(type, data))):
        lengths = set(map(len, data)) if kinds == {list} else set()
        if len(lengths) != 1:
            raise _malformed(f"the data of {PIXELS} are not evenly nested")
        sides.append(lengths.pop())
        if sides != shape[: len(sides)]:
            raise _malformed(f"the data of {PIXELS} are not nested as its shape says")
        data = list(chain.from_iterable(data))
    if kinds != {int} or len(data) != math.prod(shape):
        raise _malformed(f"the data of {PIXELS} are not as many whole numbers as its shape says")
    if len(sides) > 1 and sides != shape:
        raise _malformed(f"the data of {PIXELS} are not nested as its shape says")
    return data


def _output(name: str, answers: Sequence[Answer]) -> dict[str, Any]:
    datatype, value = OUTPUTS[name]
    values = [value(answer) for answer in answers]
    if name != "probabilities":
        return {"name": name, "datatype": datatype, "shape": [len(values)], "data": values}
    flat = [share for row in values for share in row]
    return {
        "name": name,
        "datatype": datatype,
        "shape": [len(values), len(flat) // len(values)],
        "data": flat,
    }


def _malformed(detail: str) -> Refusal:
    return Refusal("malformed_request", detail)
