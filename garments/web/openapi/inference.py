"""The Open Inference Protocol's part of the description: the endpoints below `/v2`."""

from __future__ import annotations

from collections.abc import Sequence

from garments.card import Card
from garments.web import inference_protocol as v2
from garments.web.openapi.schemas import (
    OF_PICTURES,
    Schema,
    as_json,
    object_of,
    operation,
    reference,
)

_OF_MODELS = ("unknown_model", "not_ready")


def paths_of_inference(cards: Sequence[Card]) -> Schema:
    """The endpoints of the inference protocol, with the names and versions of all models."""
    names = {"enum": [card.name for card in cards]}
    versions = {"enum": list(dict.fromkeys(card.version for card in cards))}
    name, version = _in_path("name", names), _in_path("version", versions)
    paths: Schema = {
        "/v2": {
            "get": operation(
                "The protocol",
                object_of(
                    {
                        "name": {"const": "garments"},
                        "version": {"const": "2"},
                        "extensions": {"type": "array", "maxItems": 0},
                    }
                ),
                plain=True,
            )
        },
        "/v2/health/live": {
            "get": operation(
                "The service lives", object_of({"live": {"const": True}}), plain=True, security=[]
            )
        },
        "/v2/health/ready": {
            "get": operation(
                "The models are loaded",
                object_of({"ready": {"const": True}}),
                ["not_ready", "draining"],
                plain=True,
            )
        },
    }
    for path, parameters in (
        ("/v2/models/{name}", [name]),
        ("/v2/models/{name}/versions/{version}", [name, version]),
    ):
        paths |= {
            path: {
                "parameters": parameters,
                "get": operation(
                    "The model's inputs and outputs", _METADATA, _OF_MODELS, plain=True
                ),
            },
            f"{path}/ready": {
                "parameters": parameters,
                "get": operation(
                    "The model is loaded",
                    object_of({"name": names, "ready": {"const": True}}),
                    _OF_MODELS,
                    plain=True,
                ),
            },
            f"{path}/infer": {
                "parameters": parameters,
                "post": operation(
                    "What each picture shows",
                    _answer(names, versions),
                    OF_PICTURES,
                    plain=True,
                    requestBody={"required": True, "content": as_json(_question())},
                ),
            },
        }
    return paths


def _in_path(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


_TENSORS = {
    "type": "array",
    "minItems": 1,
    "items": object_of(
        {
            "name": {"type": "string"},
            "datatype": {"type": "string"},
            "shape": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": -1}},
        }
    ),
}
_METADATA = object_of(
    {
        "name": {"type": "string"},
        "versions": {"type": "array", "minItems": 1, "items": {"type": "string"}},
        "platform": {"type": "string"},
        "inputs": _TENSORS,
        "outputs": _TENSORS,
    }
)


def _question() -> Schema:
    """A request for inference. JSON Schema cannot say that data must fill their shape."""
    files = _tensor(v2.IMAGES, "BYTES", 1, reference("Picture"))
    files["properties"]["shape"]["maxItems"] = 2
    value = {"type": ["integer", "array"], "minimum": 0, "maximum": 255}
    pixels = _tensor(v2.PIXELS, "UINT8", 4, value)
    one = {"anyOf": [files, pixels]}
    output = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": list(v2.OUTPUTS)}},
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": one},
            "outputs": {"type": "array", "items": output},
        },
    }


def _answer(names: Schema, versions: Schema) -> Schema:
    values = {"INT64": {"type": "integer"}, "FP32": {"type": "number"}, "BYTES": {"type": "string"}}
    outputs = [
        _tensor(name, datatype, 2 if name == "probabilities" else 1, values[datatype])
        for name, (datatype, _) in v2.OUTPUTS.items()
    ]
    return object_of(
        {
            "model_name": names,
            "model_version": versions,
            "id": {"type": "string"},
            "outputs": {"type": "array", "minItems": 1, "items": {"anyOf": outputs}},
        },
        optional=["id"],
    )


def _tensor(name: str, datatype: str, sides: int, value: Schema) -> Schema:
    shape = {"type": "array", "items": {"type": "integer", "minimum": 1}}
    return {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": {"const": name},
            "datatype": {"const": datatype},
            "shape": {**shape, "minItems": sides, "maxItems": sides},
            "data": {"type": "array", "minItems": 1, "items": value},
        },
    }
