"""The bodies of requests: read in time and within bounds, or given up."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from granian.rsgi import HTTPProtocol, ProtocolClosed  # type: ignore[attr-defined]

from garments.settings import Settings
from garments.web.access_log import RequestRecord
from garments.web.problems import Refusal, busy

# Bytes a second at which a body may take as long as it needs.
_LEAST_RATE = 16 * 2**10
_BROKEN_OFF = "the body broke off"
_OR_HAS_TRAILERS = ", or has trailers that no Trailer header announces"


def longest_body(settings: Settings) -> float:
    """The most seconds that a body may take."""
    return settings.body_seconds + settings.max_request_bytes / _LEAST_RATE


class Bodies:
    """Reads the bodies of a worker's requests; to be made in its event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        # When the time of each is up, unless more of it comes.
        self._due: dict[asyncio.Task[Any] | None, float] = {}
        self._held = 0
        self._hurry()

    async def small(self, protocol: HTTPProtocol) -> bytes:
        """The whole body of a request. Raises Refusal."""
        with self._in_time():
            return bytes(await protocol())

    async def large(
        self,
        protocol: HTTPProtocol,
        record: RequestRecord,
        size: int | None,
        most: int,
        trailers: bool,
    ) -> io.BytesIO:
        """The whole body, of `size` bytes if that is known. Raises Refusal.

        One of more than `most` is cut. It is held until `let_go`, which must follow in any case.
        `trailers` says whether the head announced that some follow a body in chunks.
        """
        body, ends = io.BytesIO(), 0
        with self._in_time() as came:
            async for chunk in protocol:
                ends += not chunk
                came(len(chunk))
                record.received += len(chunk)
                self._held += len(chunk)
                if self._held > self._settings.max_queue_bytes:
                    raise busy()
                body.write(chunk)
                if record.received > most:
                    break  # it is refused by its length, or makes no sense
        if size is not None and record.received < size:
            raise Refusal("malformed_request", _BROKEN_OFF)
        # Granian ends a body in chunks with an empty one, and with a second one where it broke off
        # or has trailers. Where these are announced, it is left to parsers and decoders to refuse
        # what broke off. They miss no more than a picture's last bytes, and the end of a page's
        # form, which no browser sends in chunks.
        if size is None and ends > 1 and not trailers:
            raise Refusal("malformed_request", _BROKEN_OFF + _OR_HAS_TRAILERS)
        body.seek(0)
        return body

    def let_go(self, record: RequestRecord) -> None:
        """Count what was read of a large body as held no more."""
        self._held -= record.received

    @contextmanager
    def _in_time(self) -> Iterator[Callable[[int], None]]:
        """Read a body; raise Refusal if it comes too slowly or breaks off.

        What this gives is to be told of the bytes that came. They win time, but never more than a
        body has at first: else much at once would buy a long silence.
        """
        task = asyncio.current_task()
        seconds = self._settings.body_seconds
        self._due[task] = time.perf_counter() + seconds

        def came(count: int) -> None:
            won = self._due[task] + count / _LEAST_RATE
            self._due[task] = min(won, time.perf_counter() + seconds)

        try:
            yield came
        except asyncio.CancelledError:
            raise Refusal("slow_request", "the body came too slowly: send less") from None
        except ProtocolClosed as error:
            raise Refusal("malformed_request", _BROKEN_OFF) from error
        finally:
            del self._due[task]

    def _hurry(self) -> None:
        """Give up, again and again, the reading of bodies whose time is up."""
        now = time.perf_counter()
        for task, due in self._due.items():
            if task is not None and now > due:
                task.cancel()
        self._loop.call_later(min(1.0, self._settings.body_seconds), self._hurry)
