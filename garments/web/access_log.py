"""What the service tells of each request: a line in its log, an id in the answer, numbers."""

from __future__ import annotations

import functools
import json
import random
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from select import PIPE_BUF
from typing import TYPE_CHECKING, Any

from flask import Flask, request
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map
from werkzeug.wsgi import ClosingIterator

from garments.card import Card
from garments.engine import Answer
from garments.routing import together
from garments.web.metrics import Metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from garments.web.classify import Result

RECORD = "garments.record"
"""Where the environ of a request has its RequestRecord, if whoever called the app began one."""
# What an id may be, so that it can break neither a log nor a header.
_ID = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")
_LONGEST_PATH = 200
_LONGEST_METHOD = 20
# The endpoint of what asks for none.
_OTHER = "other"


class RequestRecord:
    """One request, as the log and the numbers tell it."""

    __slots__ = (
        "cards", "client", "ended", "endpoint", "id", "method", "path", "pictures", "reasons",
        "received", "results", "seconds", "sent", "started", "status", "waited",
    )  # fmt: skip

    def __init__(self, method: str, path: str, client: str, given_id: str | None) -> None:
        self.started = time.perf_counter()
        self.method, self.path, self.client = method, path, client
        self.id = (
            given_id if given_id and _ID.fullmatch(given_id) else f"{random.getrandbits(64):016x}"
        )
        self.endpoint = _OTHER
        self.cards: Sequence[Card] = ()
        self.results: Sequence[Result] = ()
        self.reasons: list[str] = []
        self.waited: float | None = None
        self.pictures = self.received = self.sent = self.status = 0
        self.ended = self.seconds = 0.0

    @property
    def normal_path(self) -> str:
        """The path as Flask has it, which takes any number of slashes at the beginning for one."""
        return f"/{self.path.lstrip('/')}"

    def as_refused(self, endpoint: str) -> RequestRecord:
        """A copy for the log, as of a request that is answered without its work.

        That may still go on in a thread, and tells this record what comes of it.
        """
        told = RequestRecord(self.method, self.path, self.client, self.id)
        told.started, told.received, told.waited = self.started, self.received, self.waited
        told.endpoint, told.pictures = endpoint, self.pictures
        return told


def brought(pictures: int) -> None:
    """Tell how many pictures the request at hand brings, whatever becomes of them."""
    request.environ[RECORD].pictures = pictures


def answered(cards: Sequence[Card], results: Sequence[Result]) -> None:
    """Tell what the request at hand got: an Answer for each picture, or what is wrong with it.

    The cards are those of the models that were asked, one for each picture.
    """
    record: RequestRecord = request.environ[RECORD]
    record.cards, record.results = cards, results
    record.reasons += [result.code for result in results if not isinstance(result, Answer)]


def refused(code: str) -> None:
    """Tell that the request at hand is refused for the reason `code`."""
    request.environ[RECORD].reasons.append(code)


class AccessLog:
    """Tells of every request: to the log on stderr, and in numbers.

    Right after a prediction the processor's caches hold nothing of this code, which makes it five
    times as slow. So whoever serves many requests has several told of together, a little later.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        log: bool,
        later: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        """`later` calls a function after a while; without it each request is told of at once."""
        self.metrics = metrics
        self._log = log
        self._later = later
        self._untold: list[RequestRecord] = []
        self._urls = Map()

    def watch(self, app: Flask) -> None:
        """Note all requests of `app`, whatever server calls it."""
        inner: WSGIApplication = app.wsgi_app
        self._urls = app.url_map

        def watched(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            record: RequestRecord | None = environ.get(RECORD)
            if record is not None:  # whoever began it ends it
                return inner(environ, _starting(record, start_response))
            record = environ[RECORD] = RequestRecord(
                environ["REQUEST_METHOD"],
                environ.get("PATH_INFO", ""),
                environ.get("REMOTE_ADDR", ""),
                environ.get("HTTP_X_REQUEST_ID"),
            )
            length = environ.get("CONTENT_LENGTH", "")
            record.received = int(length) if length.isdecimal() else 0
            body = inner(environ, _starting(record, _sending(record, start_response)))
            return ClosingIterator(body, lambda: self.ended(record))

        app.wsgi_app = watched  # type: ignore[method-assign]

        @app.before_request
        def tell_endpoint() -> None:
            asked = request_ctx.request
            if asked.url_rule is not None:
                asked.environ[RECORD].endpoint = asked.url_rule.rule

    def endpoint(self, record: RequestRecord) -> str:
        """What the numbers call the endpoint of a request that the app has not seen."""
        return _endpoint(self._urls, record.method, record.normal_path)

    def ended(self, record: RequestRecord) -> None:
        """Take note of a request that was answered."""
        record.seconds = time.perf_counter() - record.started
        record.ended = time.time()
        self._untold.append(record)
        if self._later is None:
            self.flush()
        elif len(self._untold) == 1:
            self._later(self.flush)

    def flush(self) -> None:
        """Count what was answered since the last time, and write its lines."""
        untold, self._untold = self._untold, []
        for record in untold:
            self._count(record)
        if self._log and untold:
            # JSON escapes what could end a line.
            lines = [json.dumps(_line(record)) + "\n" for record in untold]
            with suppress(OSError):  # a log that nobody reads any more is no reason to fail
                for piece in _pieces(lines):
                    sys.stderr.write(piece)
                    sys.stderr.flush()

    def _count(self, record: RequestRecord) -> None:
        self.metrics.answered(record.endpoint, record.status, record.seconds)
        if record.waited is not None:
            self.metrics.waited(record.waited)
        if record.pictures:
            self.metrics.asked(record.pictures)
        if record.results:
            self.metrics.predicted(zip(record.cards, record.results, strict=True))
        for reason in record.reasons:
            self.metrics.refused(reason)


@functools.lru_cache(maxsize=64)  # when there is too much to do, few are asked for very often
def _endpoint(urls: Map, method: str, path: str) -> str:
    try:
        rule, _ = urls.bind("localhost").match(path, method, return_rule=True)
    except HTTPException:
        return _OTHER
    return rule.rule


@functools.lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _line(record: RequestRecord) -> dict[str, Any]:
    """What the log says of a request."""
    line: dict[str, Any] = {
        "time": f"{_second(int(record.ended))}.{int(record.ended % 1 * 1000):03}Z",
        "id": record.id,
        "client": record.client,
        "method": record.method[:_LONGEST_METHOD],
        "path": record.path[:_LONGEST_PATH],
        "status": record.status,
        "ms": round(record.seconds * 1000, 2),
        "received": record.received,
        "sent": record.sent,
    }
    if record.waited is not None:
        line["waited_ms"] = round(record.waited * 1000, 2)
    if record.pictures:
        line["pictures"] = record.pictures
    if record.results:
        line["model"] = together({card.identity for card in record.cards})
    if record.reasons:
        line["refused"] = sorted(set(record.reasons))
    return line


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """Whole lines, as many at a time as a pipe keeps apart from what other workers write to it."""
    piece = ""
    for line in lines:
        if piece and len(piece) + len(line) > PIPE_BUF:
            yield piece
            piece = ""
        piece += line
    yield piece


def _starting(record: RequestRecord, start_response: StartResponse) -> StartResponse:
    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        record.status = int(status[:3])
        headers.append(("X-Request-ID", record.id))
        return start_response(status, headers, exc_info)

    return start


def _sending(record: RequestRecord, start_response: StartResponse) -> StartResponse:
    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if record.method != "HEAD":
            record.sent = sum(int(value) for name, value in headers if name == "Content-Length")
        return start_response(status, headers, exc_info)

    return start
