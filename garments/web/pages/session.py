"""What the service remembers of a person between two requests: a signed cookie, and no more."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from flask import Flask, Request, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface

from garments.settings import Settings

AGE = timedelta(hours=12)
"""How long a sign-in holds, a long shift; then the person signs in again."""


def signing_key(settings: Settings) -> str:
    """The key that signs the cookies of a service with these settings.

    It changes with the token, so that a new token signs everybody out. A cookie that anyone gets
    must not help to guess a token, so that the key takes long to make from one. Where there is
    neither token nor key it is made up, and so good for one process and those that are handed it.
    """
    if not settings.api_token:
        return settings.secret_key or secrets.token_hex(32)
    salt = b"garments " + settings.secret_key.encode()
    return hashlib.scrypt(settings.api_token.encode(), salt=salt, n=2**14, r=8, p=1).hex()


class _PagesOnly(SecureCookieSessionInterface):
    """Sessions for the pages alone: an API needs none, and would pay for it."""

    digest_method = staticmethod(hashlib.sha256)

    def __init__(self, paths: frozenset[str]) -> None:
        self._paths = paths

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        return super().open_session(app, request) if _first(request.path) in self._paths else None

    def get_cookie_secure(self, app: Flask) -> bool:
        # A client that says so itself only gets a cookie that its browser keeps to itself.
        return request.is_secure or request.headers.get("X-Forwarded-Proto") == "https"


def keep(app: Flask, settings: Settings, name: str) -> None:
    """Have the pages of `app`, its endpoints of the blueprint `name`, remember who is there."""
    app.secret_key = key = signing_key(settings)
    app.permanent_session_lifetime = AGE
    app.config.update(
        # Browsers do not tell ports apart, and a service on another one may have another key.
        SESSION_COOKIE_NAME=f"garments_session_{hashlib.sha256(key.encode()).hexdigest()[:8]}",
        SESSION_COOKIE_HTTPONLY=True,
        # Strict would sign out whoever follows a link to here from elsewhere: without the cookie
        # that request begins an empty session. What a page does takes a form of our own anyway.
        SESSION_COOKIE_SAMESITE="Lax",
    )
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith(f"{name}.")]
    paths = {_first(rule.rule) for rule in rules if rule.endpoint != f"{name}.static"}
    app.session_interface = _PagesOnly(frozenset(paths))


def _first(path: str) -> str:
    """The first part of a path: `/runs` of `/runs/7`."""
    end = path.find("/", 1)
    return path if end < 0 else path[:end]
