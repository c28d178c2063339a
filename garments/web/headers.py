"""The headers of a request, from the server to the app."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from flask import Request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from granian._granian import RSGIHeaders

DROPPED = "garments.dropped"
"""Where the environ of a request has the names of headers that came, but whose values did not."""
# The headers that nearly all requests have, as WSGI calls them; others are put together.
_KEYS = {
    "accept": "HTTP_ACCEPT",
    "accept-encoding": "HTTP_ACCEPT_ENCODING",
    "authorization": "HTTP_AUTHORIZATION",
    "connection": "HTTP_CONNECTION",
    "content-length": "CONTENT_LENGTH",
    "content-type": "CONTENT_TYPE",
    "host": "HTTP_HOST",
    "user-agent": "HTTP_USER_AGENT",
}
# Headers whose loss would be taken for something else.
_MISSED = {"content-type": "CONTENT_TYPE", "cookie": "HTTP_COOKIE"}


def put_headers(environ: WSGIEnvironment, headers: RSGIHeaders) -> None:
    """Put `headers` into `environ`, as WSGI has them."""
    for name, value in headers.items():
        key = _KEYS.get(name)
        if key is None:
            if "_" in name:
                continue  # it would pass for the header of that name with a hyphen
            key = f"HTTP_{name.replace('-', '_').upper()}"
        if key in environ:
            value = f"{environ[key]}{';' if name == 'cookie' else ','}{value}"
        environ[key] = value
    for name, key in _MISSED.items():
        # Granian has no value for a header that is not all ASCII, only its name.
        if key not in environ and name in headers:
            environ[DROPPED] = (*environ.get(DROPPED, ()), name)


def was_dropped(request: Request, name: str) -> bool:
    """Whether a header, by its name in small letters, came but could not be read."""
    dropped: Container[str] = request.environ.get(DROPPED, ())
    return name in dropped
