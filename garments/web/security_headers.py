"""What every answer tells a browser, whoever led it here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEADERS = {
    # What is sent is what it says it is, and nothing that a browser should run or show.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    # Answers are about somebody's pictures.
    "Cache-Control": "no-store",
    # Instead of the server's own, which names the software.
    "Server": "garments",
}


def with_security_headers(app: WSGIApplication) -> WSGIApplication:
    """The same application, whose answers have the headers above unless they have their own.

    Flask would do it too, but takes ten times as long as all of this.
    """

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            given = {name for name, _ in headers}
            added = [(name, value) for name, value in HEADERS.items() if name not in given]
            return start_response(status, headers + added, *error)

        return app(environ, start)

    return answer
