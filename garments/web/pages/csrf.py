"""Is it really our own page that asks? What a browser was led to do by others is refused."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets

from flask import Request, session

from garments.web.problems import Refusal

_FIELD = "csrf_token"
_HEADER = "X-CSRF-Token"
_KEY = "csrf"
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:[0-9]*)?")


def form_token() -> str:
    """What a form of ours carries and no other site knows; the same throughout a session."""
    if _KEY not in session:
        session[_KEY] = secrets.token_urlsafe(24)
    return str(session[_KEY])


def has_form_token(request: Request) -> bool:
    """Whether this request carries the token of its session's forms."""
    given = request.headers.get(_HEADER) or request.form.get(_FIELD, "")
    known = session.get(_KEY, "")
    return bool(known) and hmac.compare_digest(given.encode(), str(known).encode())


def require_own_form(request: Request) -> None:
    """Raise Refusal unless a page of ours sent this request, in this session."""
    require_own_site(request)
    if not has_form_token(request):
        raise _foreign()


def require_own_site(request: Request) -> None:
    """Raise Refusal where the browser says that another site made it send this request."""
    # The browser itself says who made it send this. Cookies do not tell ports apart, so that
    # another service on this machine could plant one with a form of ours.
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is None and origin is not None:
        site = "same-origin" if origin.partition("://")[2] == request.host else "cross-site"
    if site not in (None, "same-origin"):
        raise _foreign()


def _foreign() -> Refusal:
    detail = "this page is out of date, or another site sent you here: load it again"
    return Refusal("foreign_form", detail)


def require_own_host(request: Request) -> None:
    """Raise Refusal unless the request is for this machine by a name that only it can have.

    Any site can have its own name stand for 127.0.0.1, and then read what is answered there.
    """
    match = _HOST.fullmatch(request.host)
    name = match[1].strip("[]").lower() if match else ""
    if name == "localhost" or name.endswith(".localhost"):
        return
    try:
        own = ipaddress.ip_address(name).is_loopback
    except ValueError:
        own = False
    if not own:
        detail = "without GARMENTS_API_TOKEN the pages are for http://127.0.0.1 and localhost only"
        raise Refusal("foreign_host", detail)
