"""Every error that the service answers with, as RFC 9457 problem details."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, current_app, request
from flask.globals import request_ctx
from werkzeug.exceptions import (
    HTTPException,
    InternalServerError,
    MethodNotAllowed,
    NotFound,
    RequestedRangeNotSatisfiable,
    RequestEntityTooLarge,
)

from garments.preprocess import BadImage
from garments.web.access_log import refused

PROBLEMS: Mapping[str, tuple[int, str]] = {
    "malformed_request": (400, "The request cannot be understood"),
    "malformed_base64": (400, "An image is not base64"),
    "unauthorized": (401, "A token is needed"),
    "signed_out": (401, "You are not signed in"),
    "foreign_form": (403, "The request did not come from this page"),
    "foreign_host": (403, "The service is not known by this name"),
    "not_found": (404, "There is nothing here"),
    "unknown_photo": (404, "There is no such photo"),
    "unknown_model": (404, "There is no such model"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "decided": (409, "Somebody else was first"),
    "slow_request": (408, "The request came too slowly"),
    "request_too_large": (413, "The request is too large"),
    "too_many_images": (413, "The request has too many images"),
    "too_many_pixels": (413, "The image is too large"),
    "too_many_frames": (413, "The image has too many frames"),
    "too_many_scans": (413, "The image has too many scans"),
    "unsupported_media_type": (415, "The request is of a type that is not served"),
    "unsupported_type": (415, "The image is of a type that is not served"),
    "no_such_range": (416, "The file has no such part"),
    "empty_image": (422, "The image is empty"),
    "unreadable_image": (422, "The image cannot be read"),
    "busy": (429, "The service has as much work as it takes"),
    "internal_error": (500, "The service failed"),
    "no_database": (503, "The database cannot be used"),
    "not_ready": (503, "The service is not ready"),
    "draining": (503, "The service is about to stop"),
    "out_of_time": (503, "The request took too long"),
}
_HEADERS: Mapping[str, Mapping[str, str]] = {
    "unauthorized": {"WWW-Authenticate": "Bearer"},
    "signed_out": {"WWW-Authenticate": "Bearer"},
    "busy": {"Retry-After": "1"},
    "not_ready": {"Retry-After": "1"},
    "draining": {"Retry-After": "1"},
    "out_of_time": {"Retry-After": "1"},
}
REFUSED = "garments.refused"
"""Where the environ of a request that is not worked on has why: a Refusal."""
NOWHERE = "POST pictures to /predict; /ready says who answers"
FAILED = "the failure is in the service's log; try again"

logger = logging.getLogger(__name__)


class Refusal(Exception):
    """The service will not do what the request asks; `code` is a key of PROBLEMS."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def busy() -> Refusal:
    """What a request is refused with that can neither be worked on nor wait."""
    return Refusal("busy", "too many requests at once: try again after the time given")


def out_of_time() -> Refusal:
    """What a request is refused with whose deadline has come."""
    detail = "this took longer than a request may: try again, or send fewer pictures at a time"
    return Refusal("out_of_time", detail)


def draining() -> Refusal:
    """What is said in place of "ready" by a service that is about to stop."""
    return Refusal("draining", "the service finishes what it has; ask another one")


def problem(
    path: str, code: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Build the error that a request is answered with; `code` is a key of PROBLEMS.

    Its `path` begins with one slash, as Flask has it.
    """
    status, title = PROBLEMS[code]
    body: dict[str, Any] = {"title": title, "status": status, "detail": detail, "code": code}
    kind = "application/problem+json"
    # That protocol has a body of its own.
    if f"{path}/".startswith("/v2/"):
        body, kind = {"error": detail}, "application/json"
    return Response(
        json.dumps(body, ensure_ascii=False, separators=(",", ":")) + "\n",
        status,
        {**(headers or {}), **headers_of(code)},
        content_type=kind,
    )


def headers_of(code: str) -> Mapping[str, str]:
    """What an answer with this code has beside the usual headers."""
    return _HEADERS.get(code, {})


def answer_errors_as_problems(app: Flask) -> None:
    """Make every exception that leaves a view a problem answer."""

    @app.before_request
    def not_worked_on() -> None:
        refusal: Refusal | None = request_ctx.request.environ.get(REFUSED)
        if refusal is not None:
            raise refusal

    @app.errorhandler(BadImage)
    @app.errorhandler(Refusal)
    def unwilling(error: BadImage | Refusal) -> Response:
        return _answer(error.code, str(error))

    app.register_error_handler(HTTPException, rejected)

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        logger.error("a request failed", exc_info=error)
        return _answer("internal_error", FAILED)


def rejected(error: HTTPException) -> Response:
    """The problem of a request that no view is for, that was not read whole, or that failed."""
    if isinstance(error, NotFound):
        return _answer("not_found", NOWHERE)
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return _answer("method_not_allowed", f"allowed are: {allowed}", {"Allow": allowed})
    if isinstance(error, RequestEntityTooLarge):
        most = current_app.config["MAX_CONTENT_LENGTH"]
        detail = f"a request has at most {most:,} bytes: send fewer or smaller pictures at a time"
        return _answer("request_too_large", detail)
    if isinstance(error, RequestedRangeNotSatisfiable):
        size = {"Content-Range": f"bytes */{error.length}"} if error.length is not None else {}
        return _answer("no_such_range", "ask for bytes that the file has, or for all", size)
    if isinstance(error, InternalServerError):  # what failed outside of a view; Flask logs it
        return _answer("internal_error", FAILED)
    # What is left are requests that Werkzeug cannot parse, and bodies that broke off.
    return _answer("malformed_request", error.description or "the request is malformed")


def _answer(code: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    refused(code)
    return problem(request.path, code, detail, headers)
