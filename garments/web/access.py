"""Who may come in, and how many at once."""

from __future__ import annotations

import hmac
import threading
from types import TracebackType

from flask import Request

from garments.web.problems import Refusal


def require_token(request: Request, token: str) -> None:
    """Raise Refusal unless the request carries `Authorization: Bearer <token>`."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not same:
        raise Refusal("unauthorized", "send the service's token as `Authorization: Bearer …`")


class Gate:
    """Lets a bounded number of requests be worked on; the next is refused at once."""

    def __init__(self, places: int) -> None:
        self._places = threading.BoundedSemaphore(places)

    def __enter__(self) -> None:
        if not self._places.acquire(blocking=False):
            raise Refusal("busy", "too many requests at once: try again after the time given")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._places.release()
