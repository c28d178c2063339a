"""The way in: who a person is, and whether they know the service's token."""

from __future__ import annotations

import functools
import hmac
import re
from collections.abc import Callable, Mapping
from typing import ParamSpec

from flask import (
    Blueprint,
    Response,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from werkzeug.wrappers import Response as AnyResponse

from garments.settings import Settings
from garments.web.access import SIGN_IN
from garments.web.headers import was_dropped
from garments.web.pages.csrf import (
    form_token,
    has_form_token,
    require_own_form,
    require_own_host,
    require_own_site,
)
from garments.web.problems import Refusal

_LONGEST_NAME = 60
# Letters of Persian and of Indian scripts take other shapes with the non-joiner and the joiner, and
# emoji are put together with it; by themselves they show nothing.
_JOINERS = str.maketrans("", "", "\u200c\u200d")
# Everything that a page may load, run or send to: what the service itself has.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_LATE = (
    "This page was open for too long: send it again. "
    "If this comes again, allow cookies for this page."
)
_UNREADABLE = (
    "Your browser sends cookies that cannot be read: one of them, of another service at this "
    "address, is not all of plain letters. Delete this site's cookies and load this page again, or "
    "open it by another name: 127.0.0.1 and localhost each have cookies of their own."
)
_WHO, _SIGNED_IN = "who", "signed_in"
# Paths of this service and nothing else; not `//other.example`, which is another site.
_PAIR = "[a-z]+=[A-Za-z0-9]*"
_OWN_PATH = re.compile(rf"(/|(/[A-Za-z0-9._-]+)+)(\?{_PAIR}(&{_PAIR})*)?")

_View = ParamSpec("_View")


def who() -> str | None:
    """The name of the person who asks, as they gave it."""
    name = session.get(_WHO)
    return str(name) if name else None


def needs_name(view: Callable[_View, AnyResponse | str]) -> Callable[_View, AnyResponse | str]:
    """A view that first asks for the person's name, where nobody has given one yet."""

    @functools.wraps(view)
    def asking(*args: _View.args, **kwargs: _View.kwargs) -> AnyResponse | str:
        return view(*args, **kwargs) if who() else _to_sign_in("say who you are first")

    return asking


def own_address() -> str:
    """What leads to the page of this request again; an odd query is left behind."""
    address = f"{request.path}?{request.query_string.decode('latin-1')}"
    return address if _OWN_PATH.fullmatch(address) else request.path


def confined(response: Response) -> Response:
    """A page that may load and run only what the service itself has."""
    response.headers.setdefault("Content-Security-Policy", _POLICY)
    # With no referrer at all a browser would not tell either who sent a form.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def add_to(pages: Blueprint, settings: Settings) -> None:
    """Guard all `pages`, and add the one that lets people in."""
    token = settings.api_token

    @pages.before_request
    def guard() -> AnyResponse | None:
        if request.endpoint == "pages.static":
            return None
        if not token:
            require_own_host(request)
        elif not session.get(_SIGNED_IN) and request.endpoint not in SIGN_IN:
            return _to_sign_in("sign in first")
        if request.endpoint == "pages.sign_out" and not who():
            return redirect(url_for("pages.sign_in", next="/"), 303)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            # Werkzeug would write large files of such a form to the disk. Pictures come as a body.
            if request.mimetype == "multipart/form-data":
                raise Refusal("unsupported_media_type", "a form of ours has no files")
            if request.endpoint == "pages.sign_in" and not has_form_token(request):
                # Its session has ended, or another tab has begun one. It lets nobody in, and what
                # was filled in is not lost.
                require_own_site(request)
                if who() and _given_name() == who():  # the second click of two
                    return redirect(_onward(), 303)
                faults = {"form": _LATE} | _cookie_fault()
                return make_response(form(_given_name(), faults), 403)
            if request.endpoint == "pages.sign_out":
                # A page from before a new sign-in has another token; who leaves is not kept.
                require_own_site(request)
            else:
                require_own_form(request)
        return None

    def form(name: str, faults: Mapping[str, str]) -> str:
        return render_template(
            "sign_in.html", name=name, longest=_LONGEST_NAME, onward=_onward(), faults=faults
        )

    pages.after_request(confined)

    @pages.app_context_processor
    def known_to_templates() -> dict[str, object]:
        return {"who": who, "form_token": form_token, "token_needed": bool(token)}

    @pages.route("/sign-in", methods=["GET", "POST"])
    def sign_in() -> AnyResponse | str | tuple[str, int]:
        faults = {}
        name = _given_name()
        if request.method == "POST":
            given = request.form.get("token", "").strip()
            shown = name.translate(_JOINERS)
            if not shown or len(name) > _LONGEST_NAME or not shown.isprintable():
                faults["name"] = f"Give your name, in at most {_LONGEST_NAME} letters."
            if token and not hmac.compare_digest(given.encode(), token.encode()):
                faults |= {"token": "This is not the service's token."}
            if not faults:
                session.clear()  # whatever was signed before cannot be used again
                session[_WHO] = name
                session[_SIGNED_IN] = bool(token)
                form_token()  # a page that put it in later would have the cookie begin anew
                return redirect(_onward(), 303)
        page = form(name, faults | _cookie_fault())
        return (page, 422) if faults else page

    @pages.post("/sign-out")
    def sign_out() -> AnyResponse:
        session.clear()
        return redirect(url_for("pages.sign_in"), 303)


def _cookie_fault() -> dict[str, str]:
    return {"form": _UNREADABLE} if was_dropped(request, "cookie") else {}


def _given_name() -> str:
    return " ".join(request.form.get("name", who() or "").split())


def _onward() -> str:
    """The page that a person wanted, if it is one of this service."""
    onward = request.values.get("next", "/")
    return onward if _OWN_PATH.fullmatch(onward) else "/"


def _to_sign_in(what: str) -> AnyResponse:
    """Send a person to the sign-in; a form, whose content would be lost, is refused."""
    if request.method not in ("GET", "HEAD"):
        raise Refusal("signed_out", f"nothing was done: {what}, at /sign-in")
    return redirect(url_for("pages.sign_in", next=own_address()), 303)
