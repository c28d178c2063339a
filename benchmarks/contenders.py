"""What is measured: our service and its peers, each with its way of being asked."""

import base64
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from urllib3.filepost import encode_multipart_formdata

from garments.settings import PROJECT

CORES = len(os.sched_getaffinity(0))
_ENVIRONMENTS = PROJECT / ".venv-peers"
_BOUNDARY = "garments-boundary"


@dataclass(frozen=True)
class Contender:
    """A service: how it is started, asked about pictures, and understood.

    In `command`, `ready` and `variables` PORT stands for the port that it gets.
    """

    name: str
    command: Sequence[object]
    ready: str
    path: str
    content_type: str
    body: Callable[[Sequence[bytes]], bytes]
    classes: Callable[[Any], list[int]]
    variables: Mapping[str, str] = field(default_factory=dict)
    pictures: int = 1  # in a request


def _predictions(answer: Any) -> list[int]:
    return [row["prediction"] for row in answer["predictions"]]


def _only(pictures: Sequence[bytes]) -> bytes:
    (picture,) = pictures
    return picture


def _form(pictures: Sequence[bytes]) -> bytes:
    parts = [("image", (f"{n}.png", data, "image/png")) for n, data in enumerate(pictures)]
    return encode_multipart_formdata(parts, _BOUNDARY)[0]


def _json(pictures: Sequence[bytes]) -> bytes:
    return json.dumps({"images": [base64.b64encode(data).decode() for data in pictures]}).encode()


def ours(
    name: str = "Garments", *command: object, form: str = "body", pictures: int = 1
) -> Contender:
    """Our service, started by `command` or as `make serve` does it; `form` is how it is asked."""
    content_type, body = {
        "body": ("image/png", _only),
        "form": (f"multipart/form-data; boundary={_BOUNDARY}", _form),
        "JSON": ("application/json", _json),
    }[form]
    return Contender(
        name,
        command or (sys.executable, "app.py", "--port", "PORT"),
        "/ready",
        "/predict",
        content_type,
        body,
        _predictions,
        pictures=pictures,
    )
