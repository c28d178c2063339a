"""Small requests that are there at the same moment, worked on together, their pictures in one run.

A request that is worked on alone finds nothing of its code and data in the processor's caches: the
network has just been through them. So of several each is first read, then the network is asked for
all, then each is answered. The views know nothing of it: each runs in a greenlet, which stops where
it asks a model.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from greenlet import getcurrent, greenlet

from garments.engine import Answer, Engine
from garments.web.access_log import RequestRecord
from garments.web.deadline import UNTIL
from garments.web.problems import busy, out_of_time

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_Pictures = npt.NDArray[np.uint8]
_T = TypeVar("_T")

# Requests that are worked on together at most; more of them gain next to nothing.
_MOST = 16
# Seconds after which no further request is begun, so that the first need not wait for long.
_SECONDS_TO_BEGIN = 0.005
# Seconds in which those who have just been answered ask again, if they do.
_MOMENT = 0.0001
# How much the last group counts for the seconds that a request in line is thought to take.
_NEWS = 0.2


class TooMuch(BaseException):
    """A request has more work in it than may be done where all others wait meanwhile.

    It is no Exception, so that nothing answers it on its way out of the app.
    """


def others_wait() -> bool:
    """Whether whoever calls is worked on together with others, in the event loop."""
    return isinstance(getcurrent(), _Request)


def ask(engine: Engine, pictures: _Pictures, top: int) -> list[Answer]:
    """What `engine.predict` says, in one run with what other requests of the moment ask it."""
    request = getcurrent()
    if not isinstance(request, _Request):
        return engine.predict(pictures, top)
    return request.ask(_Question(engine, pictures, top))


class _Question(NamedTuple):
    engine: Engine
    pictures: _Pictures
    top: int


class _Request(greenlet):
    """Work on one request. It stops where it asks a model, and goes on with the answers."""

    question: _Question | None = None

    def ask(self, question: _Question) -> list[Answer]:
        self.question = question
        answers: list[Answer] = self.parent.switch()  # type: ignore[union-attr]  # it has one
        return answers


def _answer(requests: Sequence[tuple[_Request, _Question]]) -> None:
    """Ask each model once for all of `requests`, and let them go on."""
    by_engine: dict[int, list[tuple[_Request, _Question]]] = {}
    for request, question in requests:
        request.question = None
        by_engine.setdefault(id(question.engine), []).append((request, question))
    for asked in by_engine.values():
        questions = [question for _, question in asked]
        top = max(question.top for question in questions)
        pictures = [question.pictures for question in questions]
        try:
            answers = iter(
                questions[0].engine.predict(
                    np.concatenate(pictures) if len(pictures) > 1 else pictures[0], top
                )
            )
        except Exception as error:  # noqa: BLE001 (each tells of it as if it had asked alone)
            for request, _ in asked:
                request.throw(error)
            continue
        for request, question in asked:
            given = list(islice(answers, len(question.pictures)))
            request.switch([_cut(answer, question.top) for answer in given])


def _cut(answer: Answer, top: int) -> Answer:
    return answer if len(answer.top) == top else answer._replace(top=answer.top[:top])


class Group:
    """Those who wait to be worked on together; first come, first served."""

    def __init__(self, longest: int, seconds: float, changed: Callable[[], None]) -> None:
        """At most `longest` may wait, for at most `seconds`; `changed` hears when some are done."""
        self._loop = asyncio.get_running_loop()
        self._longest = longest
        self._seconds = seconds
        self._changed = changed
        self._waiting: deque[
            tuple[float, RequestRecord, asyncio.Future[Any], Callable[[], None]]
        ] = deque()
        self._last = 0
        self._begun: float | None = None
        self._pace = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    async def work(
        self, work: Callable[[WSGIEnvironment], _T], environ: WSGIEnvironment, record: RequestRecord
    ) -> _T:
        """What `work` makes of a request when its turn has come. Raises Refusal and TooMuch."""
        # Half of its time may go by in line. Who would only hear then that it is up, hears it now.
        wait = len(self._waiting) * self._pace
        if len(self._waiting) >= self._longest or wait > self._seconds / 2:
            raise busy()
        turn: asyncio.Future[_T] = self._loop.create_future()
        arrived = time.monotonic()
        environ[UNTIL] = until = arrived + self._seconds

        def do() -> None:
            record.waited = time.monotonic() - arrived
            try:
                result = work(environ)
            except (Exception, TooMuch) as error:  # noqa: BLE001 (raised where it is waited for)
                turn.set_exception(error)
            else:
                turn.set_result(result)

        if not self._waiting:
            self._loop.call_soon(self._gather)
        self._waiting.append((until, record, turn, do))
        return await turn

    def _gather(self) -> None:
        if 1 < self._last > len(self._waiting):
            # Clients that were answered together ask again together. The first of them would be
            # worked on alone, with all others waiting. No timer of the loop is so short.
            time.sleep(_MOMENT)
            self._loop.call_soon(self._loop.call_soon, self._work)  # when it has heard of them
        else:
            self._work()

    def _work(self) -> None:
        now = time.monotonic()
        if self._begun is not None and self._last:  # some waited ever since
            self._pace += _NEWS * ((now - self._begun) / self._last - self._pace)
        self._begun = now
        requests: list[_Request] = []
        while self._waiting and len(requests) < _MOST:
            if time.monotonic() > now + _SECONDS_TO_BEGIN:
                break
            until, record, turn, do = self._waiting.popleft()
            if turn.done():
                continue  # whoever waited is gone
            if now > until:
                record.waited = now - until + self._seconds
                turn.set_exception(out_of_time())
                continue
            requests.append(_Request(do))
            requests[-1].switch()
        while asking := [(each, each.question) for each in requests if each.question]:
            _answer(asking)
        self._last = len(requests)
        self._changed()
        if self._waiting:
            self._loop.call_soon(self._gather)
        else:
            # After a pause of the whole process the pace would stay slow: few are let in where a
            # turn seems to take long, and it is measured only while somebody waits.
            self._begun, self._pace = None, 0.0
