"""A thread for what would hold up the event loop, and the line before it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from garments.web.access_log import RequestRecord
from garments.web.deadline import UNTIL
from garments.web.line import Line
from garments.web.problems import out_of_time

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_Answer = TypeVar("_Answer")


class Thread:
    """Works on one request at a time, beside the event loop that it is made in."""

    def __init__(
        self, name: str, longest: int, seconds: float, changed: Callable[[], None]
    ) -> None:
        """Let `longest` requests wait, and give each `seconds` for waiting and work together."""
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1, name)
        self._line = Line(longest, changed)
        self._seconds = seconds
        self._until = math.inf
        self.require_room = self._line.require_room

    def __len__(self) -> int:
        return len(self._line)

    def stuck(self) -> bool:
        """Whether what it works on goes on long after its time was up."""
        return time.monotonic() > self._until + self._seconds

    async def work(
        self,
        work: Callable[[WSGIEnvironment], _Answer],
        environ: WSGIEnvironment,
        record: RequestRecord,
    ) -> _Answer:
        """What `work` makes of a request. Raises Refusal."""
        waited_before = record.waited or 0.0  # in the loop, where it was too much work
        arrived = time.monotonic() - waited_before
        if self._line.taken:
            try:
                await self._line.wait(self._seconds - waited_before)
            finally:
                record.waited = time.monotonic() - arrived
        self._line.taken = True
        now = time.monotonic()
        record.waited = now - arrived
        environ[UNTIL] = self._until = until = arrived + self._seconds
        future = self._loop.run_in_executor(self._executor, work, environ)
        # Its time may be up before the thread is free.
        future.add_done_callback(self._leave)
        done, _ = await asyncio.wait({future}, timeout=until - now)
        if not done:
            raise out_of_time()
        return future.result()

    def _leave(self, _: object) -> None:
        self._until = math.inf
        self._line.leave()
