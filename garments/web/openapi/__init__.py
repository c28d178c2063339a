"""What the service offers, as OpenAPI 3.1: made from the tables that it works by, so it is true.

`GET /openapi.json` tells it. Errors come from PROBLEMS, bounds from the settings, names of classes
and models from the cards, outputs of the inference protocol from OUTPUTS.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from garments.card import Card
from garments.preprocess import FORMATS
from garments.routing import MODELS_HEADER
from garments.settings import Settings
from garments.web.openapi.inference import paths_of_inference
from garments.web.openapi.schemas import (
    OF_PICTURES,
    Schema,
    as_json,
    object_of,
    operation,
    reference,
)

_ABOUT = "Sorts pictures of clothes into the classes of its models, and says how sure it is"
_CHOICE = "name@version of all models that the service chose from, joined by +, in URL quoting"
# The form of a picture, for whoever tests with this description: JSON Schema cannot say more.
PICTURE_FORMAT = "picture"


def describe(settings: Settings, cards: Sequence[Card]) -> Schema:
    """The description of a service with these settings and these models."""
    names = [card.name for card in cards]
    labels = list(dict.fromkeys(label for card in cards for label in card.labels))
    default = next(card for card in cards if card.name == settings.model)
    schemas = {
        "Error": object_of({"error": {"type": "string"}}),
        "Model": object_of(
            {
                "name": {"enum": names},
                "version": {"type": "string", "pattern": "^[0-9a-f]{12}$"},
            }
        ),
        "Choice": object_of(_choice(labels)),
        "Prediction": object_of(
            {
                "filename": {"type": ["string", "null"]},
                **_choice(labels),
                "decision": {"enum": ["accept", "review"]},
                "top": {"type": "array", "minItems": 1, "items": reference("Choice")},
                "model": reference("Model"),  # where it is not that of the first answer
            },
            optional=["model"],
        ),
        "Refused": object_of({"filename": {"type": ["string", "null"]}, "error": _fault()}),
        "Picture": {
            "type": "string",
            "format": PICTURE_FORMAT,
            "description": (
                f"Base64, or a data: URL, of a picture ({', '.join(FORMATS)}) of at most "
                f"{settings.max_pixels:,} pixels, {settings.max_frames:,} frames, and in a JPEG "
                f"{settings.max_scans:,} scans"
            ),
        },
        "Pictures": _pictures(settings.max_images),
    }
    paths = {**_state(), **_answers(names, default, settings), **paths_of_inference(cards)}
    for path, item in paths.items():
        for method in item.keys() & {"get", "post"}:  # of which each path has one
            item[method]["operationId"] = re.sub(r"\W+", "_", path).strip("_")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Garments", "version": "1", "description": _ABOUT},
        "paths": paths,
        "security": [{"token": []}] if settings.api_token else [],
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _choice(labels: Sequence[str]) -> dict[str, Schema]:
    return {
        "prediction": {"type": "integer", "minimum": 0, "maximum": len(labels) - 1},
        "label": {"enum": list(labels)},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    }


def _fault() -> Schema:
    return object_of({"code": {"enum": OF_PICTURES}, "detail": {"type": "string"}})


def _pictures(most: int) -> Schema:
    """JSON with pictures. One that is alone must be good; of several a bad one harms no other."""
    return {
        "type": "object",
        "required": ["images"],
        "properties": {
            "images": {
                "anyOf": [
                    {"type": "array", "minItems": 1, "maxItems": 1, "items": reference("Picture")},
                    {"type": "array", "minItems": 2, "maxItems": most, "items": {}},
                ]
            }
        },
    }


def _state() -> Schema:
    status = {"type": "array", "minItems": 1, "items": reference("Model")}
    return {
        "/health": {
            "get": operation(
                "The service lives", object_of({"status": {"const": "alive"}}), security=[]
            )
        },
        "/ready": {
            "get": operation(
                "The models are loaded and gave the right answer to the question on their cards",
                object_of({"status": {"const": "ready"}, "models": status}),
                ["not_ready", "draining"],
            )
        },
        "/metrics": {
            "get": operation(
                "Numbers for Prometheus, of all workers", {"type": "string"}, kind="text/plain"
            )
        },
        "/openapi.json": {
            "get": operation("This description", {"type": "object"}, ["not_ready"]),
        },
    }


def _answers(names: Sequence[str], default: Card, settings: Settings) -> Schema:
    row = {"oneOf": [reference("Prediction"), reference("Refused")]}
    predictions = {"type": "array", "minItems": 1, "maxItems": settings.max_images, "items": row}
    files = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
    form = {
        "type": "object",
        "description": (
            "Files in the order that answers shall have, in fields of any name; and at most "
            f"{settings.max_form_fields:,} fields beside the files, which are passed over, except "
            "`model` and `top`, which `/predict` takes in its address alone"
        ),
        "minProperties": 1,
        "properties": {"image": files},
    }
    limits = f"At most {settings.max_request_bytes:,} bytes and {settings.max_images:,} pictures"
    in_address = {"anyOf": [{"required": ["model"]}, {"required": ["top"]}]}
    bodies: Schema = {
        **{f"image/{kind.lower()}": {} for kind in FORMATS},
        "application/octet-stream": {},
        "multipart/form-data": {"schema": form},
        **as_json({"allOf": [reference("Pictures"), {"not": in_address}]}),
    }
    top = {"type": "integer", "minimum": 1, "maximum": len(default.labels), "default": 3}
    model = {"enum": list(names)}
    number = {"type": ["integer", "null"], "minimum": 0}
    index = {"type": "integer", "minimum": 0}
    return {
        "/predict": {
            "post": operation(
                "What each picture shows, in the order sent",
                object_of({"model": reference("Model"), "predictions": predictions}),
                OF_PICTURES,
                headers={MODELS_HEADER: {"description": _CHOICE, "schema": {"type": "string"}}},
                parameters=[
                    {"name": "top", "in": "query", "schema": top},
                    {"name": "model", "in": "query", "schema": model},
                ],
                requestBody={"description": limits, "required": True, "content": bodies},
            )
        },
        "/process_batch": {
            "post": operation(
                "The number of each picture's class, for clients of an older interface",
                object_of(
                    {
                        "predictions": {"type": "array", "minItems": 1, "items": number},
                        "errors": {
                            "type": "array",
                            "minItems": 1,
                            "items": object_of({"index": index, **_fault()["properties"]}),
                        },
                    },
                    optional=["errors"],
                ),
                [code for code in OF_PICTURES if code != "unknown_model"],
                requestBody={
                    "description": limits,
                    "required": True,
                    "content": as_json(reference("Pictures")),
                },
            )
        },
    }
