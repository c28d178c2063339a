"""Who may come in."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from flask import Flask, Request
from werkzeug.exceptions import MethodNotAllowed, NotFound

from garments.web.problems import Refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

OPEN = ("api.health", "v2.live")
"""What answers without the token: that the service lives, as it and as `/v2` say it."""
SIGN_IN = ("pages.sign_in", "pages.sign_out")
"""Pages that nobody need be signed in for."""
# Nothing here reads a body with these.
_WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")


# The media types of an error: the one that the client prefers, and the first of equals.
_KINDS = ("application/problem+json", "application/json", "text/html")


def is_page_wanted(request: Request) -> bool:
    """Whether who asks likes a page best, as a person with a browser does."""
    return request.accept_mimetypes.best_match(_KINDS) == "text/html"


def is_by_a_person(request: Request) -> bool:
    """Whether somebody has typed an address, or has followed a link to it."""
    is_for_people = request.method in ("GET", "HEAD") and not request.path.startswith("/v2/")
    return is_for_people and is_page_wanted(request)


def is_mistyped(request: Request) -> bool:
    """Whether a person went to an address that is no page, which can be told without a token."""
    is_none = isinstance(request.routing_exception, (NotFound, MethodNotAllowed))
    return is_none and is_by_a_person(request)


def require_token(request: Request, token: str) -> None:
    """Raise Refusal unless the request carries `Authorization: Bearer <token>`."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not same:
        raise Refusal("unauthorized", "send the service's token as `Authorization: Bearer …`")


def most_to_bring(app: Flask, environ: WSGIEnvironment, little: int, much: int) -> int:
    """The most bytes that the view of a request takes, by its head alone; 0 if it is refused.

    All that `app` asks before a view is asked here. If it says no, so it will when the request is
    handed to it without its body. To let somebody in or out it has to see the form, so these views
    take `little`, whoever asks.
    """
    with app.request_context(environ) as context:
        request = context.request
        if request.method in _WITHOUT_BODY or request.routing_exception is not None:
            return 0
        if request.endpoint in SIGN_IN:
            return little
        try:
            if app.preprocess_request() is not None:
                return 0
        except Exception:  # noqa: BLE001 (it will be raised again, and answered)
            return 0
        return much
