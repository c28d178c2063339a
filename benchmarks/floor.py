"""The least that a WSGI app can do with a picture: read it, and answer always the same."""

from collections.abc import Callable, Iterable
from typing import Any

ANSWER = b'{"predictions":[]}\n'


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Read the whole body and answer."""
    environ["wsgi.input"].read()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))]
    start_response("200 OK", headers)
    return [ANSWER]
