"""What is known of photos and nights, in the words of the night."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from garments.store.database import Database
from garments.store.forgetting import forgetting
from garments.store.keeping import keeping_answers, keeping_photos
from garments.store.lock import Check, locked
from garments.store.records import SETTLED, Answer, Known, Outcome, Photo, Stamp
from garments.store.runs import Runs
from garments.store.tables import STANDS, answers, photos, reviews, runs

_PAGE = 5_000  # rows at a time


class Store:
    """Runs, photos and answers; every method raises StoreError where the database fails."""

    def __init__(self, url: str) -> None:
        """Prepare for the database of `url`; nothing is opened before `open`."""
        self._database = Database(url)
        self._check_lock: Check = lambda: None
        self.runs = Runs(self._database)
        prepared, insert = self._database.prepared, self._database.insert
        self._keep_answers = prepared(keeping_answers(insert))
        self._keep_photos = prepared(keeping_photos(insert))
        self._keep_ranks = prepared(
            photos.update()
            .where(
                photos.c.directory == sa.bindparam("in"),
                photos.c.name == sa.bindparam("of"),
            )
            .values(waiting=sa.bindparam("rank"))
        )

    @contextmanager
    def locked(self, what: str = "night") -> Iterator[None]:
        """Keep other nights off, until the block or this process ends. Raises Busy too.

        They are told `what` is running.
        """
        since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
        host = socket.gethostname()[:23]
        holder = f"{what} {os.getpid()} on {host} since {since}"
        with locked(self._database, holder) as self._check_lock:
            yield

    def check_lock(self) -> None:
        """See that `locked` still holds: a database may lose it while nothing else fails."""
        self._check_lock()

    @property
    def files(self) -> list[Path]:
        """The files that nobody else may write, whether they are there or not."""
        return self._database.files

    def open(self) -> None:
        """Check that the database can be relied on, and make or update its tables."""
        self._database.migrate()

    def close(self) -> None:
        """Close the connections; the store can be opened again."""
        self._database.close()

    def known(self, directory: bytes, model: str) -> Iterator[Known]:
        """What is known of the photos of `directory`, sorted by name."""
        columns = (photos.c.size, photos.c.modified, photos.c.changed, answers.c.run)
        for name, size, modified, changed, run in self._paged(directory, model, columns):
            yield Known(name, Stamp(size, modified, changed), run)

    def outcomes(self, directory: bytes, model: str | sa.ScalarSelect[str]) -> Iterator[Outcome]:
        """Every known photo of `directory` with what `model` and people said, sorted by name."""
        columns = (
            photos.c.run,
            sa.func.coalesce(photos.c.problem, answers.c.problem),
            photos.c.expected,
            answers.c.decision,
            answers.c.prediction,
            answers.c.label,
            answers.c.confidence,
            sa.func.coalesce(answers.c.answered_by, answers.c.model, reviews.c.model),
            photos.c.digest,
            answers.c.thumbnail.is_not(None),
            answers.c.drawn_for_slip,
            photos.c.waiting,
            reviews.c.id.is_not(None),
            reviews.c.answer,
            reviews.c.at < datetime.now(timezone.utc) - SETTLED,
            # Of a surer answer nothing more need be read.
            sa.case((answers.c.confidence < 0.5, answers.c.top)),
        )
        return (Outcome._make(row) for row in self._paged(directory, model, columns, reviewed=True))

    def last_outcomes(self, directory: bytes) -> Iterator[Outcome]:
        """The same with what the last model said that archived; else the last to read a content.

        The last to archive may have read it long before, and need not have asked again.
        """
        return self.outcomes(directory, _last_of(directory))

    def classified(self, directory: bytes, model: str | None = None) -> Iterator[Photo]:
        """The known photos of `directory` that `model` could read, sorted by name.

        Without one, those of `last_outcomes`.
        """
        columns = (
            photos.c.size,
            photos.c.modified,
            photos.c.changed,
            photos.c.digest,
            answers.c.decision,
        )
        by = model or _last_of(directory)
        for name, *stamp, digest, decision in self._paged(directory, by, columns):
            if decision in ("accept", "review"):
                yield Photo(name, Stamp(*stamp), digest)

    def _paged(
        self,
        directory: bytes,
        model: str | sa.ScalarSelect[str],
        columns: Sequence[sa.ColumnElement[Any]],
        *,
        reviewed: bool = False,
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of name and `columns` by name.

        A photo that this night could not have answered counts as one without an answer.
        """
        answer = (
            (answers.c.digest == photos.c.digest)
            & (answers.c.model == model)
            & photos.c.problem.is_(None)
        )
        tables = photos.outerjoin(answers, answer)
        if reviewed:
            standing = (reviews.c.digest == photos.c.digest) & STANDS
            tables = tables.outerjoin(reviews, standing)
        query = (
            sa.select(photos.c.name, *columns)
            .select_from(tables)
            .where(photos.c.directory == directory)
        )
        return map(tuple, self._database.paged(query, photos.c.name, b"", _PAGE))

    def previews(
        self, directory: bytes, names: Collection[bytes], model: str
    ) -> dict[bytes, tuple[list[list[Any]], bytes | None]]:
        """The likeliest classes and the thumbnail, by name."""
        query = (
            sa.select(photos.c.name, answers.c.top, answers.c.thumbnail)
            .join(answers, (answers.c.digest == photos.c.digest) & (answers.c.model == model))
            .where(photos.c.directory == directory, photos.c.name.in_(names))
        )
        with self._database.reading() as connection:
            return {name: (top or [], small) for name, top, small in connection.execute(query)}

    def answered(self, digests: Collection[bytes], model: str) -> set[bytes]:
        """Which of these contents `model` has answered for."""
        asked = {"model": model, "digests": digests}
        with self._database.reading() as connection:
            return set(connection.scalars(_ANSWERED, asked))

    def record(
        self, run: int, directory: bytes, seen: Sequence[Photo], given: Sequence[Answer]
    ) -> None:
        """Keep what was read and answered: all of it, or nothing."""
        self.check_lock()
        with self._database.writing() as connection:
            self._keep_answers(
                connection,
                [
                    {**vars(answer), "top": orjson.dumps(answer.top).decode(), "run": run}
                    for answer in given
                ],
            )
            self._keep_photos(connection, [_columns(run, directory, photo) for photo in seen])

    def forget(self, directory: bytes, names: Iterable[bytes]) -> None:
        """Drop photos that are not in `directory` any more, with their slips; answers stay."""
        for statement in forgetting(directory, names):
            with self._database.writing() as connection:
                connection.execute(statement)

    def expect(self, run: int, directory: bytes, classes: Iterable[tuple[bytes, int]]) -> None:
        """Keep the class on the return slip of photos, by name.

        Of one that was left for the next night nothing else may be known yet.
        """
        upsert = self._database.insert(photos).values(
            directory=directory,
            name=sa.bindparam("of"),
            size=0,
            modified=0,
            changed=0,
            run=run,
            expected=sa.bindparam("number"),
        )
        upsert = upsert.on_conflict_do_update(
            index_elements=[photos.c.directory, photos.c.name],
            set_={"expected": upsert.excluded.expected},
            where=photos.c.expected.is_distinct_from(upsert.excluded.expected),
        )
        values: list[Mapping[str, object]] = [{"of": name, "number": n} for name, n in classes]
        if values:
            with self._database.writing() as connection:
                connection.execute(upsert, values)

    def wait(self, directory: bytes, ranks: Sequence[tuple[bytes, float | None]]) -> None:
        """Give photos, by name, their rank in the queue for people; None takes them out."""
        with self._database.writing() as connection:
            self._keep_ranks(
                connection,
                [{"in": directory, "of": name, "rank": rank} for name, rank in ranks],
            )

    def draw(self, model: str, thumbnails: Mapping[bytes, bytes]) -> None:
        """Keep thumbnails of contents, by digest, of which `model` and the slip say different."""
        update = (
            answers.update()
            .where(answers.c.model == model, answers.c.digest == sa.bindparam("of"))
            .values(thumbnail=sa.bindparam("small"), drawn_for_slip=True)
        )
        with self._database.writing() as connection:
            connection.execute(update, [{"of": d, "small": s} for d, s in thumbnails.items()])


# Asked for every batch of a night, so it is made once; of no type, so that SQLAlchemy does not look
# at every digest.
_ANSWERED = sa.select(answers.c.digest).where(
    answers.c.model == sa.bindparam("model"),
    answers.c.digest.in_(sa.bindparam("digests", type_=sa.types.NullType(), expanding=True)),
)


def _last_of(directory: bytes) -> sa.ScalarSelect[str]:
    """The model of each content whose answer `last_outcomes` gives."""
    later = answers.alias()
    last = (
        sa.select(later.c.model)
        .where(later.c.digest == photos.c.digest, later.c.prediction.is_not(None))
        .order_by(
            (later.c.model == _last_to_archive(directory)).desc(),
            later.c.run.desc(),
            later.c.model,
        )
        .limit(1)
    )
    return last.scalar_subquery()


def _last_to_archive(directory: bytes) -> sa.ScalarSelect[str]:
    """The model by whose answers photos of `directory` were last archived."""
    archiving = sa.select(runs.c.model).where(runs.c.directory == directory, runs.c.archiving)
    return archiving.order_by(runs.c.id.desc()).limit(1).scalar_subquery()


def _columns(run: int, directory: bytes, photo: Photo) -> dict[str, object]:
    return {
        "directory": directory,
        "name": photo.name,
        **photo.stamp._asdict(),
        "digest": photo.digest,
        "problem": photo.problem,
        "run": run,
    }
