"""What each worker of a cluster does: read the photos of a part, and make a row of each."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from garments.answering import answer_each
from garments.batch.errors import ServiceError, UsageError
from garments.card import Card
from garments.cluster.parts import as_text
from garments.cluster.places import Changed, Place
from garments.engine import Answer, Engine
from garments.predictions import Row
from garments.preprocess import BadImage, Limits
from garments.preprocess.size import size_of
from garments.routing import model_for
from garments.store import Stamp

_PICTURES = 64  # at once: the network gains nothing from more
_READERS = 8
_CHANGED = "the file changed while the job ran: run it again"
# Of a store; whatever else fails there fails for other photos too, or will soon: it is no answer.
_OF_THE_PHOTO = (errno.ENOENT, errno.EFBIG)
_FAILED = "the picture made the model fail: the log of its worker says how"

logger = logging.getLogger(__name__)

Listed = tuple[str, Stamp]


@dataclass(frozen=True)
class Work:
    """All that a worker needs to know; travels to it."""

    place: Place
    models: Mapping[str, tuple[Card, bytes]]
    """By name, what `read_model` found."""
    small: str
    photo: str
    """The names of the models for catalogue pictures and for photos."""
    limits: Limits
    max_bytes: int
    """Of one photo."""
    batch_bytes: int
    """Of photos that are read and not yet looked at, about."""


class Sorter:
    """Engines, loaded once; called with some parts, it gives their rows."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._engines = {name: Engine(Path(name), model) for name, model in work.models.items()}
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="read")

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """The rows of each part of `batch` as text, and whether another job has to try again.

        Or what failed: an exception would have Ray write its own story about it into the log.
        """
        found: dict[str, list[Any]] = {"part": [], "rows": [], "again": [], "failed": []}
        for name, photos in zip(batch["part"], batch["photos"], strict=True):
            listed = [(file, Stamp(*stamp)) for file, *stamp in json.loads(bytes(photos))]
            try:
                rows, again = self.rows(listed)
                made = str(name), as_text(rows), again, ""
            except (ServiceError, UsageError) as error:  # as where a worker finds no store
                made = str(name), b"", True, str(error)
            for column, value in zip(found.values(), made, strict=True):
                column.append(value)
        return found

    def rows(self, photos: Iterable[Listed]) -> tuple[list[Row], bool]:
        """A row for each of `photos`, and whether any of them may go better another time.

        Raises ServiceError where the object store fails that they are in, or their folder cannot
        be read on this machine.
        """
        rows: list[Row] = []
        again = False
        for group, contents in self._read(photos):
            readable = [content for content in contents if isinstance(content, bytes)]
            results = iter(self._answers(readable))
            for (name, _), content in zip(group, contents, strict=True):
                if isinstance(content, bytes):
                    row, failed = self._row(name, *next(results))
                else:
                    row, failed = Row(name, error=content), True
                rows.append(row)
                again |= failed
        return rows, again

    def _read(self, photos: Iterable[Listed]) -> Iterator[tuple[list[Listed], list[bytes | str]]]:
        """Group after group with its contents; the next is being read meanwhile."""
        ahead: tuple[list[Listed], list[Future[bytes | str]]] | None = None
        for group in _groups(photos, self._work.batch_bytes):
            reading = [self._readers.submit(self._content, *listed) for listed in group]
            if ahead:
                yield ahead[0], [future.result() for future in ahead[1]]
            ahead = group, reading
        if ahead:
            yield ahead[0], [future.result() for future in ahead[1]]

    def _content(self, name: str, stamp: Stamp) -> bytes | str:
        """The bytes of a photo, or why there are none."""
        try:
            return self._work.place.read(name, stamp, self._work.max_bytes)
        except Changed:
            return _CHANGED
        except OSError as error:
            if self._work.place.remote and error.errno not in _OF_THE_PHOTO:
                url = f"{self._work.place.root}/{name}"
                raise ServiceError(f"{url} cannot be read: {error.strerror or error}") from error
            if not self._work.place.remote:
                _require_here(self._work.place.root)
            return f"the file cannot be read: {error.strerror or error}"

    def _answers(self, contents: list[bytes]) -> list[tuple[Answer | BadImage | None, str]]:
        """What each picture's own model says of it, and which that is; None where it failed."""
        small, photo = self._work.small, self._work.photo
        models = [model_for(size_of(content), small, photo) for content in contents]
        found: list[Answer | BadImage | None] = [None] * len(contents)
        for model in set(models):
            indexes = [index for index, name in enumerate(models) if name == model]
            answers = self._by(self._engines[model], [contents[index] for index in indexes])
            for index, answer in zip(indexes, answers, strict=True):
                found[index] = answer
        return list(zip(found, models, strict=True))

    def _by(self, engine: Engine, contents: list[bytes]) -> list[Answer | BadImage | None]:
        try:
            return [*answer_each(engine, contents, limits=self._work.limits, top=1)]
        except Exception:
            if len(contents) > 1:  # one of them is at fault, and must harm no other
                middle = len(contents) // 2
                return self._by(engine, contents[:middle]) + self._by(engine, contents[middle:])
            logger.exception("a picture made the model fail")
            return [None]

    def _row(self, name: str, result: Answer | BadImage | None, model: str) -> tuple[Row, bool]:
        if result is None:
            return Row(name, error=_FAILED), True
        if isinstance(result, BadImage):
            return Row(name, error=str(result)), False
        best, card = result.top[0], self._engines[model].card
        row = Row.answered(
            name, best.prediction, best.label, best.told, result.decision, card.identity
        )
        return row, False


def _require_here(folder: str) -> None:
    """Raise ServiceError where all photos are missing, on this machine alone as it seems.

    They were listed on another one. A folder to mount them on is empty while nothing is mounted.
    """
    try:
        with os.scandir(os.path.join(folder, ".")) as entries:  # it has to let us enter, too
            why = "" if next(entries, None) else "it is empty"
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise ServiceError(
            f"{folder!r} cannot be read on {socket.gethostname()} ({why}): mount it there"
        )


def _groups(photos: Iterable[Listed], most_bytes: int) -> Iterator[list[Listed]]:
    """Photos to be read at once: a batch of the network, or what memory has room for."""
    group: list[Listed] = []
    size = 0
    for name, stamp in photos:
        if group and (len(group) == _PICTURES or size + stamp.size > most_bytes):
            yield group
            group, size = [], 0
        group.append((name, stamp))
        size += stamp.size
    if group:
        yield group
