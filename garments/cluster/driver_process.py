"""Parts to the process of the driver, which alone has Ray, and their rows back from it.

Where a cluster fails in the middle, Ray's own code may end the process that it is in, with code 1
and without a word to Python. So that is not this one: here are the locks and the table, and here
is told how the job ended.
"""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from garments import child
from garments.batch.errors import ServiceError
from garments.cluster.parts import Part, Parts, packed
from garments.cluster.sorter import Work
from garments.settings import tell_library

_PARTS_AT_ONCE = 200
"""That are on their way: a hundred thousand photos, whose names take some fifty MiB."""
_SECONDS_BETWEEN_LOG_LINES = 30.0
# Then it is killed, which loses nothing; while it starts a node Ray may hear no signal for long.
_SECONDS_TO_END = 5.0
_AGAIN = "run the job again, it goes on with the parts that are missing"

logger = logging.getLogger(__name__)


def sort(work: Work, listing: Iterable[Part], parts: Parts) -> int:
    """Have a row for each photo of `listing` in `parts`; return how many had none before.

    Raises ServiceError where the cluster fails in a way that it does not mend by itself, or the
    photos' store does; and OSError where a part cannot be written.
    """
    missing = (part for part in listing if part.name not in parts)
    some = list(islice(missing, _PARTS_AT_ONCE))
    if not some:
        return 0
    looked_at = 0
    with _started(work) as ray:
        while some:
            looked_at += _sort(ray, some, parts)
            some = list(islice(missing, _PARTS_AT_ONCE))
    return looked_at


class _Ray:
    """The process that has Ray, as it is seen from here."""

    def __init__(self, process: SpawnProcess, connection: Connection) -> None:
        self._process = process
        self._connection = connection

    def rows(self, some: list[Part]) -> Iterator[tuple[str, bytes, bool]]:
        """The rows of each part as they come, in any order, and whether to try again.

        Raises ServiceError.
        """
        try:
            self._connection.send([packed(part) for part in some])
            while heard := self._connection.recv():
                if isinstance(heard, ServiceError):
                    raise ServiceError(f"{heard}; {_AGAIN}")
                name, rows, again, failed = heard
                if failed:
                    raise ServiceError(f"{failed}; {_AGAIN}")
                yield name, rows, again
        except (EOFError, OSError) as error:  # the latter within a message
            self._process.join(_SECONDS_TO_END)
            raise ServiceError(
                f"the cluster failed: Ray ended its process (code {self._process.exitcode}); "
                + _AGAIN
            ) from error


@contextmanager
def _started(work: Work) -> Iterator[_Ray]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, work), name="ray", daemon=True)
    child.start(process)
    theirs.close()
    try:
        yield _Ray(process, ours)
        # Of itself, since Ray writes a signal into the log as if it had crashed.
        with suppress(OSError):
            ours.send(None)
            process.join(_SECONDS_TO_END)
    finally:
        try:
            process.terminate()
            process.join(_SECONDS_TO_END)
        finally:
            process.kill()  # if it still runs
            ours.close()


def _run(connection: Connection, work: Work) -> None:
    # Read when Ray is imported; each takes forty seconds where a cluster does not answer.
    tell_library("RAY_NUM_REDIS_GET_RETRIES", "3", unless=["RAY_NUM_REDIS_GET_RETRIES"])
    from garments.cluster.driver import serve  # only there: Ray takes a second and 100 MiB

    serve(connection, work)


def _sort(ray: _Ray, some: list[Part], parts: Parts) -> int:
    sizes = {part.name: len(part.photos) for part in some}
    logged, done = time.monotonic(), 0
    for name, rows, again in ray.rows(some):
        if name in sizes:  # a worker that was lost may have given it already
            parts.write(name, rows, again=again)
            done += sizes.pop(name)
        if time.monotonic() - logged > _SECONDS_BETWEEN_LOG_LINES:
            logged = time.monotonic()
            logger.info("%s more images done", f"{done:,}")
    return done
