"""A worker's RSGI application: a request is read, waits for its turn, is answered or turned away.

A request with little in it is worked on where it arrives, in the event loop: to hand it to a thread
would cost more than the wait of the others is worth. One with much in it has a thread, so that the
loop stays free to read, to answer what is small, and to refuse. A request of many bytes is known by
its head; one of few bytes that hold many pixels only once it has been read.
"""

from __future__ import annotations

import functools
import io
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask import Flask
from granian.rsgi import HTTPProtocol, Scope  # type: ignore[attr-defined]

from garments.settings import Settings
from garments.web.access import most_to_bring
from garments.web.access_log import RECORD, AccessLog, RequestRecord
from garments.web.batching import Group, TooMuch
from garments.web.body import Bodies
from garments.web.headers import put_headers
from garments.web.lifecycle import Lifecycle
from garments.web.pages import OF_DATABASE
from garments.web.problems import FAILED, REFUSED, Refusal, problem
from garments.web.security_headers import HEADERS
from garments.web.thread import Thread
from garments.web.uploads import BODY

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_Response = tuple[int, list[tuple[str, str]], bytes]  # status, headers and body

# Bytes up to which a request is small: two dozen pictures of Fashion-MNIST, or ten milliseconds.
_SMALL = 16 * 2**10
_BASE: WSGIEnvironment = {
    "SCRIPT_NAME": "",
    # Nothing here asks for these, since each answer names paths alone.
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "wsgi.url_scheme": "http",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.input_terminated": True,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}

logger = logging.getLogger(__name__)


class RsgiApp:
    """Answers the requests of a worker by the Flask app; to be made in its event loop."""

    def __init__(
        self, app: Flask, settings: Settings, lifecycle: Lifecycle, access_log: AccessLog
    ) -> None:
        self._app = app
        self._settings = settings
        self._lifecycle = lifecycle
        self._access_log = access_log
        self._bodies = Bodies(settings)
        longest, seconds = settings.max_queue, settings.deadline_seconds
        self._small = Group(longest, seconds, self._tell_depth)
        self._large = Thread("large requests", longest, seconds, self._tell_depth)
        # Whoever waits for the database lets nobody else wait.
        self._pages = Thread("pages", longest, seconds, self._tell_depth)

    def stuck(self) -> bool:
        """Whether what is in a thread goes on long after its time was up."""
        return self._large.stuck() or self._pages.stuck()

    async def answer(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answer one request; Granian calls this by its protocol RSGI."""
        client = scope.client.rpartition(":")[0].strip("[]")
        record = RequestRecord(scope.method, scope.path, client, scope.headers.get("x-request-id"))
        try:
            status, headers, body = await self._answer(scope, protocol, record)
        except Refusal as refusal:
            record, (status, headers, body) = self._refuse(scope, record, refusal)
        except Exception:
            logger.exception("a request failed")
            failure = Refusal("internal_error", FAILED)
            record, (status, headers, body) = self._refuse(scope, record, failure)
        if self._lifecycle.leaving:
            headers.append(("Connection", "close"))
        protocol.response_bytes(status, headers, body)
        record.status, record.sent = status, len(body)
        self._access_log.ended(record)

    async def _answer(
        self, scope: Scope, protocol: HTTPProtocol, record: RequestRecord
    ) -> _Response:
        environ = _environ(scope, record)
        length = environ.get("CONTENT_LENGTH")
        # The server has seen to it that this is one number, even where it was sent twice. What
        # comes in chunks has a length of its own as soon as it is here.
        chunked = environ.pop("HTTP_TRANSFER_ENCODING", None)
        size = None if chunked else int(length.partition(",")[0]) if length else 0
        if size is None or size > _SMALL:
            much = self._settings.max_request_bytes
            most = most_to_bring(self._app, environ, _SMALL, much)
            if most and (size or 0) <= most:
                return await self._answer_large(protocol, record, environ, size, most)
            # It is refused by its head. Its body stays unread, so that the server closes the
            # connection, unless it is there already.
            size = 0
        if size:
            # Read even if it will be refused: else the connection would have to be closed.
            body = await self._bodies.small(protocol)
            record.received = size
            environ[BODY] = body
            environ["wsgi.input"] = io.BytesIO(body)
        if _asks_database(record):
            return await self._pages.work(self._work, environ, record)
        if not size:  # what brings nothing needs no turn, like /health
            return self._work(environ)
        try:
            return await self._small.work(self._work, environ, record)
        except TooMuch:
            environ["wsgi.input"] = io.BytesIO(body)
            return await self._large.work(self._work, environ, record)

    async def _answer_large(
        self,
        protocol: HTTPProtocol,
        record: RequestRecord,
        environ: WSGIEnvironment,
        size: int | None,
        most: int,
    ) -> _Response:
        thread = self._pages if _asks_database(record) else self._large
        thread.require_room()
        try:
            trailers = "HTTP_TRAILER" in environ
            environ["wsgi.input"] = await self._bodies.large(protocol, record, size, most, trailers)
            environ["CONTENT_LENGTH"] = str(record.received)
            return await thread.work(self._work, environ, record)
        finally:
            self._bodies.let_go(record)

    def _work(self, environ: WSGIEnvironment) -> _Response:
        """Call the application."""
        start = _Start()
        answer = self._app.wsgi_app(environ, start)
        try:
            return start.status, start.headers, b"".join(answer)
        finally:
            if hasattr(answer, "close"):
                answer.close()

    def _refuse(
        self, scope: Scope, record: RequestRecord, refusal: Refusal
    ) -> tuple[RequestRecord, _Response]:
        told = record.as_refused(self._access_log.endpoint(record))
        if _asks_database(record):  # a person may be waiting, for a page
            environ = _environ(scope, told)
            environ[REFUSED] = refusal
            return told, self._work(environ)
        told.reasons.append(refusal.code)
        status, headers, body = _problem(record.normal_path, refusal.code, str(refusal))
        return told, (status, [*headers, ("X-Request-ID", record.id)], body)

    def _tell_depth(self) -> None:
        self._access_log.metrics.waiting(len(self._small) + len(self._large) + len(self._pages))


class _Start:
    """What an application says before its answer: WSGI's start_response."""

    status = 500
    headers: list[tuple[str, str]]

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], object]:
        self.status, self.headers = int(status[:3]), headers
        return bytes  # WSGI's write(), which nobody calls


def _asks_database(record: RequestRecord) -> bool:
    return record.normal_path.startswith(OF_DATABASE)


def _environ(scope: Scope, record: RequestRecord) -> WSGIEnvironment:
    environ = _BASE.copy()
    environ["REQUEST_METHOD"] = record.method
    environ["PATH_INFO"] = _as_wsgi(record.path)
    environ["QUERY_STRING"] = _as_wsgi(scope.query_string)
    environ["REMOTE_ADDR"] = record.client
    environ["wsgi.input"] = io.BytesIO()
    environ[RECORD] = record
    put_headers(environ, scope.headers)
    return environ


def _as_wsgi(text: str) -> str:
    return text if text.isascii() else text.encode().decode("latin-1")


@functools.lru_cache(maxsize=32)  # when there is too much to do, this is done most often
def _problem(path: str, code: str, detail: str) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    response = problem(path, code, detail, HEADERS)
    return response.status_code, tuple(response.headers), response.get_data()
