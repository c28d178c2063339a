"""Have the pending photos of a night answered, and keep every answer as it comes."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from queue import Empty, SimpleQueue

from tqdm import tqdm

from garments.batch import photo
from garments.batch.answers import as_answer, is_of_a_limit, told_by
from garments.batch.client import Client
from garments.batch.errors import ServiceError
from garments.batch.people import is_sampled
from garments.batch.walk import Findings, Found
from garments.settings import Settings
from garments.store import Answer, Photo, Store
from garments.terminal import hides_progress

_SECONDS_BETWEEN_LOG_LINES = 30.0
_MODELS_AT_MOST = 3
_FORGOTTEN_AT_ONCE = 500

logger = logging.getLogger(__name__)


@dataclass
class _Batch:
    """What became of some photos."""

    photos: list[Photo] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    left: list[Found] = field(default_factory=list)
    posted: Counter[str] = field(default_factory=Counter)
    """How many were sent, by the models that the service is known to have chosen from."""
    models: set[str] = field(default_factory=set)
    """What the service said that it chose from."""
    error: Exception | None = None
    """What ended it before it was whole."""


@dataclass
class Night:
    """One run over a directory; `model` and the counts are as of now.

    `model` names all models that the service chooses from: an answer counts as long as these are
    the same, whichever of them gave it.
    """

    store: Store
    client: Client
    settings: Settings
    directory: bytes
    run: int
    model: str
    fresh: bool
    new_after: int = 0
    """A photo that was seen first in a later run than this one is new."""
    moved: bool = False
    """Whether a night archived photos since the last one that found any and ended."""
    unended: bool = False
    """Whether a night did so that did not end: its photos have no row in any table that stays."""
    vanished: bool = False
    """Whether photos that are known are all gone, and nobody knows why."""
    left: set[bytes] = field(default_factory=set)
    """The names of files that are still being written."""
    _skipped: int = 0
    _changed: bool = False
    """Whether the service has told of another choice of models since all were asked."""
    _posted: Counter[str] = field(default_factory=Counter)

    @property
    def posted(self) -> int:
        """How many pictures were sent, but for those that another model had to answer again."""
        return self._posted[self.model]

    def post(self, findings: Findings) -> None:
        """Have an answer for all of `findings`, but for those that are `left`, in the store.

        A service that changes its model meanwhile is asked again about what the old one answered.
        Raises ServiceError, UsageError and StoreError.
        """
        for _ in range(_MODELS_AT_MOST):
            self._changed = False
            self.left = set()
            late: list[Found] = []
            self._post(self._pending(findings), len(findings), late)
            if late:
                logger.info(
                    "%s files may still be in writing: looking again in %g s",
                    *(f"{len(late):,}", self.settings.settle_seconds),
                )
                # Waited out once for all of them; what changes meanwhile is left.
                time.sleep(self.settings.settle_seconds)
                changed: list[Found] = []
                self._post(iter(late), len(late), changed, settled=True)
                self.left = {found.name for found in changed}
            if not self._changed:
                return
            logger.info("the service now answers with %s", self.model)
        raise ServiceError("the service keeps changing its model: let all of it serve one")

    def _pending(self, findings: Findings) -> Iterator[Found]:
        """What was found and has no answer yet; photos that are gone are forgotten on the way.

        Not where all are gone: the disk that they are on may be.
        """
        known = self.store.known(self.directory, self.model)
        next_known = next(known, None)
        if not (len(findings) or next_known or self.new_after):
            logger.warning(
                "there is no image in %s, and there never was: see that this is the right place",
                os.fsdecode(self.directory),
            )
        if next_known and not len(findings):
            self.vanished = not self.moved
            if self.vanished:
                logger.warning(
                    "there is no image any more in %s: if another disk or machine has them, see "
                    "that it is mounted; what is known of them is kept",
                    os.fsdecode(self.directory),
                )
            return
        gone: list[bytes] = []
        for found in findings:
            while next_known and next_known.name < found.name:
                self._forget_soon(gone, next_known.name)
                next_known = next(known, None)
            same = next_known if next_known and next_known.name == found.name else None
            if same is not None:
                next_known = next(known, None)
            answered_in = same.answered_in if same and same.stamp == found.stamp else None
            if answered_in is not None and (answered_in == self.run or not self.fresh):
                self._skipped += 1
            else:
                yield found
        while next_known:
            self._forget_soon(gone, next_known.name)
            next_known = next(known, None)
        self._forget(gone)

    def _forget_soon(self, gone: list[bytes], name: bytes) -> None:
        """Forget one more photo, together with others: there may be too many to hold."""
        gone.append(name)
        if len(gone) >= _FORGOTTEN_AT_ONCE:
            self._forget(gone)

    def _forget(self, gone: list[bytes]) -> None:
        if gone and not self.unended:  # then this night's table still needs them
            self.store.forget(self.directory, gone)
        gone.clear()

    def _post(
        self, pending: Iterator[Found], most: int, late: list[Found], *, settled: bool = False
    ) -> None:
        logged = time.monotonic()
        self._skipped = done = 0
        with tqdm(total=most, unit="image", disable=hides_progress()) as bar:
            for batch in self._answered(pending, settled):
                self.store.record(self.run, self.directory, batch.photos, batch.answers)
                late.extend(batch.left)
                self._posted += batch.posted
                for model in batch.models - {self.model}:
                    self.model, self._changed = model, True
                done += len(batch.photos) + len(batch.left)
                bar.update(self._skipped + done - bar.n)
                if bar.disable and time.monotonic() - logged > _SECONDS_BETWEEN_LOG_LINES:
                    logged = time.monotonic()
                    logger.info("%s of %s images done", f"{self._skipped + done:,}", f"{most:,}")
            bar.update(self._skipped + done - bar.n)

    def _answered(self, pending: Iterator[Found], settled: bool) -> Iterator[_Batch]:
        """Batch after batch as they come; as many are under way as there are connections.

        Where one of them fails, all answers come before the error.
        """
        finished: SimpleQueue[_Batch] = SimpleQueue()
        connections, under_way = self.settings.connections, 0
        pool = ThreadPoolExecutor(connections, thread_name_prefix="post")
        try:
            while group := list(islice(pending, self.settings.batch_size)):
                pool.submit(self._answer, group, self.model, settled, finished)
                under_way += 1
                # One batch more than there are threads keeps them busy and the memory flat.
                if under_way > connections:
                    yield from _next(finished)
                    under_way -= 1
            for _ in range(under_way):
                yield from _next(finished)
        except Exception:
            self.client.stop()
            pool.shutdown(cancel_futures=True)
            while not finished.empty():
                yield finished.get()
            raise
        except BaseException:  # an interrupt: no thread may sleep out its pause before it ends
            self.client.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _answer(
        self, group: list[Found], model: str, settled: bool, finished: SimpleQueue[_Batch]
    ) -> None:
        """Read the photos of a batch and have those answered that no answer is known for."""
        batch = _Batch()
        try:
            self._fill(batch, group, model, settled)
        except Exception as error:  # noqa: BLE001 (raised where the batch is waited for)
            batch.error = error
            answered = {answer.digest for answer in batch.answers}
            batch.photos = [
                seen for seen in batch.photos if seen.problem or seen.digest in answered
            ]
        finished.put(batch)

    def _fill(self, batch: _Batch, group: list[Found], model: str, settled: bool) -> None:
        contents: dict[bytes, bytes] = {}
        size = 0
        for found in group:
            try:
                content = self._read(found, settled)
            except photo.StillWritten as error:
                batch.left.append(Found(found.name, error.stamp))
                continue
            except OSError as error:
                problem = f"the file cannot be read: {error.strerror}"
                batch.photos.append(Photo(found.name, found.stamp, None, problem))
                continue
            size += len(content)
            if contents and size > self.settings.batch_bytes:
                self._classify(batch, contents, model)
                contents, size = {}, len(content)
            digest = hashlib.sha256(content).digest()
            batch.photos.append(Photo(found.name, found.stamp, digest))
            contents[digest] = content
        self._classify(batch, contents, model)

    def _read(self, found: Found, settled: bool) -> bytes:
        if found.stamp.size > self.settings.max_request_bytes:
            raise OSError(
                errno.EFBIG, f"it has more than {self.settings.max_request_bytes:,} bytes"
            )
        settle_seconds = 0 if settled else self.settings.settle_seconds
        return photo.read(os.path.join(self.directory, found.name), found.stamp, settle_seconds)

    def _classify(self, batch: _Batch, contents: dict[bytes, bytes], model: str) -> None:
        """Add the answers for `contents`, by digest, that the store does not have."""
        known = set() if self.fresh or not contents else self.store.answered([*contents], model)
        asked = [digest for digest in contents if digest not in known]
        if not asked:
            return
        problems: dict[bytes, str] = {}
        try:
            entries = self.client.classify([contents[digest] for digest in asked])
            for digest, entry in zip(asked, entries, strict=True):
                told = told_by(entry, model)
                if told:
                    batch.models.add(told)
                batch.posted[told or model] += 1
                if entry.get("failed") or is_of_a_limit(entry):
                    # Not kept as an answer: the service may do better next night.
                    problems[digest] = entry["error"]["detail"]
                    continue
                answer = as_answer(digest, entry, told or model)
                if self._is_for_people(answer):
                    answer = replace(answer, thumbnail=photo.thumbnail(contents[digest]))
                batch.answers.append(answer)
        finally:
            batch.photos = [
                replace(seen, problem=problems[seen.digest]) if seen.digest in problems else seen
                for seen in batch.photos
            ]

    def _is_for_people(self, answer: Answer) -> bool:
        return answer.decision == "review" or (
            answer.decision == "accept" and is_sampled(answer.digest, self.settings.review_sample)
        )


def _next(finished: SimpleQueue[_Batch]) -> Iterator[_Batch]:
    """The batch that is finished next; raises what ended it once it has been taken."""
    # An interrupt amid `concurrent.futures.wait` can leave a lock behind that nobody opens again.
    batch = None
    while batch is None:
        with suppress(Empty):
            batch = finished.get(timeout=0.5)
    yield batch
    if batch.error:
        raise batch.error
