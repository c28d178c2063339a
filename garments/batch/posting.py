"""Have the pending photos of a night answered, and keep every answer as it comes."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, islice
from queue import Empty, SimpleQueue

from tqdm import tqdm

from garments.batch.client import Client
from garments.batch.errors import ServiceError
from garments.batch.findings import Findings, paired
from garments.batch.state import Night
from garments.batch.walk import Found
from garments.batch.worker import Batch, Worker
from garments.store import Known
from garments.terminal import hides_progress

_SECONDS_BETWEEN_LOG_LINES = 30.0
_MODELS_AT_MOST = 3
_FORGOTTEN_AT_ONCE = 500

logger = logging.getLogger(__name__)


class Poster:
    """What sends the photos of a night, and keeps their answers."""

    def __init__(self, night: Night, client: Client) -> None:
        self._night = night
        self._client = client
        self._worker = Worker(night, client)
        self._skipped = 0
        """Of the photos that were looked at last, those that had an answer."""
        self._changed = False
        """Whether the service has told of another choice of models since all were asked."""
        self._posted: Counter[str] = Counter()
        """How many were sent, by the models that the service is known to have chosen from."""

    def post(self, findings: Findings) -> None:
        """Have an answer for all of `findings`, but for those that are left, in the store.

        A service that changes its model meanwhile is asked again about what the old one answered.
        Raises ServiceError, UsageError and StoreError.
        """
        night = self._night
        for _ in range(_MODELS_AT_MOST):
            self._changed = False
            night.left = set()
            late = self._record_batches(self._pending(findings), len(findings))
            if late:
                logger.info(
                    "%s files may still be in writing: looking again in %g s",
                    f"{len(late):,}",
                    night.settings.settle_seconds,
                )
                # Waited out once for all of them; what changes meanwhile is left.
                time.sleep(night.settings.settle_seconds)
                changed = self._record_batches(iter(late), len(late), settled=True)
                night.left = {found.name for found in changed}
            if not self._changed:
                night.posted = self._posted[night.model]
                return
            logger.info("the service now answers with %s", night.model)
        raise ServiceError("the service keeps changing its model: let all of it serve one")

    def _pending(self, findings: Findings) -> Iterator[Found]:
        """What was found and has no answer yet; photos that are gone are forgotten on the way.

        Not where all are gone: the disk that they are on may be.
        """
        night = self._night
        known = night.store.known(night.directory, night.model)
        first = list(islice(known, 1))
        if not (len(findings) or first or night.new_after):
            logger.warning(
                "there is no image in %s, and there never was: see that this is the right place",
                os.fsdecode(night.directory),
            )
        if first and not len(findings):
            night.vanished = not night.moved
            if night.vanished:
                logger.warning(
                    "there is no image any more in %s: if another disk or machine has them, see "
                    "that it is mounted; what is known of them is kept",
                    os.fsdecode(night.directory),
                )
            return
        gone: list[bytes] = []
        for name, found, same in paired(findings, chain(first, known)):
            if not found:
                gone.append(name)
                if len(gone) >= _FORGOTTEN_AT_ONCE:  # there may be too many to hold
                    self._forget(gone)
            elif same and same.stamp == found.stamp and self._is_answered(same):
                self._skipped += 1
            else:
                yield found
        self._forget(gone)

    def _is_answered(self, photo: Known) -> bool:
        if self._night.fresh:
            return photo.answered_in == self._night.run
        return photo.answered_in is not None

    def _forget(self, gone: list[bytes]) -> None:
        if gone and not self._night.unended:  # then this night's table still needs them
            self._night.store.forget(self._night.directory, gone)
        gone.clear()

    def _record_batches(
        self, pending: Iterator[Found], most: int, *, settled: bool = False
    ) -> list[Found]:
        """Keep what becomes of `pending`; return the files that are still being written."""
        night = self._night
        left: list[Found] = []
        logged = time.monotonic()
        self._skipped = done = 0
        with tqdm(total=most, unit="image", disable=hides_progress()) as bar:
            for batch in self._finished_batches(pending, settled):
                night.store.record(night.run, night.directory, batch.photos, batch.answers)
                left.extend(batch.left)
                self._posted += batch.posted
                for model in batch.models - {night.model}:
                    night.model, self._changed = model, True
                done += len(batch.photos) + len(batch.left)
                bar.update(self._skipped + done - bar.n)
                if bar.disable and time.monotonic() - logged > _SECONDS_BETWEEN_LOG_LINES:
                    logged = time.monotonic()
                    logger.info("%s of %s images done", f"{self._skipped + done:,}", f"{most:,}")
            bar.update(self._skipped + done - bar.n)
        return left

    def _finished_batches(self, pending: Iterator[Found], settled: bool) -> Iterator[Batch]:
        """Batch after batch as they come; as many are under way as there are connections.

        Where one of them fails, all answers come before the error.
        """
        finished: SimpleQueue[Batch] = SimpleQueue()

        def work(group: list[Found], model: str) -> None:
            finished.put(self._worker.work_on(group, model, settled=settled))

        settings, under_way = self._night.settings, 0
        pool = ThreadPoolExecutor(settings.connections, thread_name_prefix="post")
        try:
            while group := list(islice(pending, settings.batch_size)):
                pool.submit(work, group, self._night.model)
                under_way += 1
                # One batch more than there are threads keeps them busy and the memory flat.
                if under_way > settings.connections:
                    yield from _next(finished)
                    under_way -= 1
            for _ in range(under_way):
                yield from _next(finished)
        except Exception:
            self._client.stop()
            pool.shutdown(cancel_futures=True)
            while not finished.empty():
                yield finished.get()
            raise
        except BaseException:  # an interrupt: no thread may sleep out its pause before it ends
            self._client.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _next(finished: SimpleQueue[Batch]) -> Iterator[Batch]:
    """The batch that is finished next; raises what ended it once it has been taken."""
    # An interrupt amid `concurrent.futures.wait` can leave a lock behind that nobody opens again.
    batch = None
    while batch is None:
        with suppress(Empty):
            batch = finished.get(timeout=0.5)
    yield batch
    if batch.error:
        raise batch.error
