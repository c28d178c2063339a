"""What a night notes of itself, and what it learns of those before."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any

import sqlalchemy as sa

from garments.store.database import Database
from garments.store.forgetting import forgetting
from garments.store.nights import REPORTS
from garments.store.tables import reports, runs

_REPORTS_FOR = timedelta(days=366)  # also where every night has a folder of its own


class Runs:
    """The runs; every method raises StoreError where the database fails."""

    def __init__(self, database: Database) -> None:
        """Read from and write to `database`, which is migrated before it is asked."""
        self._database = database

    def begin(self, directory: bytes, model: str | None = None) -> int:
        """Note that a run over `directory`, by `model`, has begun, and return its number."""
        with self._database.writing() as connection:
            made = connection.execute(
                runs.insert().values(
                    directory=directory,
                    host=socket.gethostname(),
                    process=os.getpid(),
                    started=datetime.now(timezone.utc),
                    model=model,
                )
            )
            (number,) = made.inserted_primary_key or (0,)
            return int(number)

    def finish(
        self, run: int, model: str, columns: Mapping[str, object], gone: Iterable[bytes] = ()
    ) -> None:
        """Note how a run ended, in `columns` of the table `runs`, and forget photos that are gone.

        These by name, in the run's directory, with their slips; all of it, or nothing.
        """
        directory = sa.select(runs.c.directory).where(runs.c.id == run).scalar_subquery()
        with self._database.writing() as connection:
            for statement in forgetting(directory, gone):
                connection.execute(statement)
            ended = {"ended": datetime.now(timezone.utc), "model": model, **columns}
            connection.execute(runs.update().where(runs.c.id == run).values(ended))

    def earlier(
        self, run: int, directory: bytes, most: int, photos: int = 1
    ) -> list[dict[str, Any]]:
        """When the last `most` runs before began, of which model, and their counts; oldest first.

        Only those that ended, over `directory`, with at least `photos` new photos.
        """
        # Which kept no mean confidence, as those do now that brought nothing new.
        of_an_older_version = runs.c.reviewed.is_(None) & (runs.c.posted > 0)
        query = (
            sa.select(runs.c.started, runs.c.model, runs.c.classes, runs.c.confidences)
            .where(runs.c.id < run, runs.c.directory == directory)
            .where(runs.c.confidence.is_not(None) | of_an_older_version)
            .order_by(runs.c.id.desc())
            .execution_options(yield_per=most)
        )
        with self._database.reading() as connection, connection.execute(query) as rows:
            many = (dict(row._mapping) for row in rows if sum(row.classes) >= photos)
            return list(islice(many, most))[::-1]

    def last_ended(self, run: int, directory: bytes, found: int = 0) -> int:
        """The last run over `directory` before `run` that came to its end; 0 if there is none.

        Of those that `found` as many photos at least.
        """
        ended = sa.select(sa.func.max(runs.c.id)).where(
            runs.c.id < run,
            runs.c.directory == directory,
            runs.c.ended.is_not(None),
            sa.func.coalesce(runs.c.found, 0) >= found,
        )
        with self._database.reading() as connection:
            return connection.scalar(ended) or 0

    def begun_since(self, moment: datetime, run: int) -> list[tuple[bytes, bool]]:
        """The directory of each run from `moment` on, but before `run`, and whether it archived."""
        query = sa.select(runs.c.directory, sa.func.coalesce(runs.c.archiving, sa.false())).where(
            runs.c.id < run, runs.c.started >= moment.astimezone(timezone.utc)
        )
        with self._database.reading() as connection:
            return [
                (directory, bool(archived)) for directory, archived in connection.execute(query)
            ]

    def archiving(self, since: int, run: int, directory: bytes, *, cut_short: bool = False) -> bool:
        """Whether any run over `directory` from `since` on, but before `run`, began to archive.

        Of those that did not come to their end, if they are to be `cut_short`.
        """
        any_of_them = sa.select(sa.func.count()).where(
            runs.c.id >= since,
            runs.c.id < run,
            runs.c.directory == directory,
            runs.c.archiving,
        )
        if cut_short:
            any_of_them = any_of_them.where(runs.c.ended.is_(None))
        with self._database.reading() as connection:
            return bool(connection.scalar(any_of_them))

    def keep_report(self, run: int, page: bytes) -> None:
        """Keep the morning report of a run, as `nights.Packer` packs it, and drop old ones.

        Of other folders, whose nights may be fewer, only those of more than a year ago, and never
        of the last nights of all: a clock that is wrong must not cost them.
        """
        year_ago = datetime.now(timezone.utc) - _REPORTS_FOR
        too_old = reports.c.run.in_(sa.select(runs.c.id).where(runs.c.started < year_ago))
        directory = sa.select(runs.c.directory).where(runs.c.id == run).scalar_subquery()
        of_it = reports.c.run.in_(sa.select(runs.c.id).where(runs.c.directory == directory))
        with self._database.writing() as connection:
            connection.execute(reports.insert().values(run=run, page=page))
            beyond = (
                sa.select(reports.c.run).order_by(reports.c.run.desc()).offset(REPORTS).limit(1)
            )
            for dropped, last in (
                (of_it, connection.scalar(beyond.where(of_it))),
                (too_old, connection.scalar(beyond)),
            ):
                if last is not None:
                    connection.execute(reports.delete().where(dropped, reports.c.run <= last))
