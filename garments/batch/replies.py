"""What the service says, and what it means that it says nothing."""

from __future__ import annotations

from typing import Any

import orjson
import requests
from urllib3.exceptions import NameResolutionError, ProtocolError, ReadTimeoutError

from garments.batch.pauses import LONGEST_PAUSE
from garments.routing import MODELS_HEADER, from_header

Entry = dict[str, Any]
"""One picture's entry in the service's `predictions`."""


class NotOurs(requests.exceptions.InvalidJSONError):
    """The answer is not of this service."""


def was_cut(error: requests.RequestException) -> bool:
    """Whether the service had taken the connection, which tells it from one that is not there."""
    return isinstance(_cause(error), ProtocolError | ReadTimeoutError)


def _cause(error: requests.RequestException) -> object:
    """What urllib3 had raised."""
    return next(iter(error.args), None)


def retry_after(response: requests.Response) -> float:
    """Seconds that the service wishes to be left alone, as far as that is obeyed."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), LONGEST_PAUSE) if text.isascii() and text.isdigit() else 0.0


def answers(response: requests.Response, count: int) -> list[Entry]:
    """What the body says of `count` pictures in the order sent, each with its `model`.

    And with `models`, all that the service chose from, where it tells. Raises InvalidJSONError for
    any other body.
    """
    try:
        body = orjson.loads(response.content)
        answers: list[Entry] = body["predictions"]
        names = [entry["filename"] for entry in answers]
        whole = all(map(_is_answer, answers))
        # An answer names its model where that is not the one of the first answer.
        models = [_identity(entry.get("model", body["model"])) for entry in answers]
    except (ValueError, KeyError, TypeError) as error:
        raise NotOurs("the answer is not of this service") from error
    if names != [str(index) for index in range(count)] or not whole:
        raise requests.exceptions.InvalidJSONError("the answer does not fit the pictures sent")
    choice = response.headers.get(MODELS_HEADER)
    told = {} if choice is None else {"models": from_header(choice)}
    for answer, model in zip(answers, models, strict=True):
        answer.update(told, model=model)
    return answers


def _identity(model: dict[str, str]) -> str:
    """name@version. Raises KeyError and TypeError for what is no model."""
    return str(model["name"] + "@" + model["version"])


def names(response: requests.Response) -> set[str]:
    """The models of a `/ready`; none where a service, or a proxy before it, names none."""
    try:
        return {str(model["name"]) for model in orjson.loads(response.content)["models"]}
    except (ValueError, KeyError, TypeError):
        return set()


def _is_answer(entry: Entry) -> bool:
    """Whether an entry has what a row needs. Raises KeyError and TypeError where it has not."""
    if "error" in entry:
        return isinstance(entry["error"]["detail"], str)
    for choice in entry["top"]:
        if not (isinstance(choice["label"], str) and 0 <= choice["confidence"] <= 1):
            return False
    return (
        type(entry["prediction"]) is int
        and isinstance(entry["label"], str)
        and 0 <= entry["confidence"] <= 1
        and entry["decision"] in ("accept", "review")
    )


def explain(response: requests.Response) -> str:
    """What a problem answer says, or its status where it is none."""
    told = problem(response).get("detail")
    return f"status {response.status_code} {response.reason}" if told is None else str(told)


def problem(response: requests.Response) -> dict[str, Any]:
    """The body of a problem answer; nothing where it is none."""
    try:
        found = orjson.loads(response.content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def reason(error: requests.RequestException) -> str:
    """Why there is no response."""
    if isinstance(error, requests.exceptions.InvalidURL):
        return "its host is no valid name or address"
    if isinstance(error, requests.exceptions.SSLError):
        return "there is no TLS, or a certificate that this machine does not trust"
    if isinstance(getattr(_cause(error), "reason", None), NameResolutionError):
        return "no address is known for its host"
    if isinstance(error, requests.Timeout):
        return "it did not answer in time"
    if isinstance(error, requests.exceptions.InvalidJSONError):
        return str(error)
    return "the connection was refused or cut"
