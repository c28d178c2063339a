"""Those who wait for their turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from garments.web.problems import busy, out_of_time


class Line:
    """One place to work, and those who wait for it; first come, first served."""

    def __init__(self, longest: int, changed: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._longest = longest
        self._changed = changed
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.taken = False
        """Set it where it is not; else wait."""

    def __len__(self) -> int:
        return len(self._waiting)

    def require_room(self) -> None:
        """Raise Refusal if another one could neither work nor wait."""
        if len(self._waiting) >= self._longest:
            raise busy()

    async def wait(self, seconds: float) -> None:
        """Wait at most so long for the place. Raises Refusal."""
        self.require_room()
        turn = self._loop.create_future()
        self._waiting.append(turn)
        self._changed()
        timer = self._loop.call_later(seconds, self._give_up, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._remove(turn)
            elif turn.exception() is None:  # its turn had come: it is somebody else's now
                self.leave()
            raise
        finally:
            timer.cancel()

    def leave(self) -> None:
        """Give the place to whoever has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            self._changed()
            if not turn.done():  # else it was cancelled a moment ago, and does not know of it yet
                turn.set_result(None)
                return
        self.taken = False

    def _remove(self, turn: asyncio.Future[None]) -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)
            self._changed()

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            self._remove(turn)
            turn.set_exception(out_of_time())
