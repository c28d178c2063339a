"""Who may come in."""

from __future__ import annotations

import hmac

from flask import Request

from garments.web.problems import Refusal


def require_token(request: Request, token: str) -> None:
    """Raise Refusal unless the request carries `Authorization: Bearer <token>`."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not same:
        raise Refusal("unauthorized", "send the service's token as `Authorization: Bearer …`")
