"""How the last nights went, with the report of each."""

from __future__ import annotations

import zlib
from typing import Any

import sqlalchemy as sa

from garments.store.database import Database
from garments.store.tables import reports, runs

REPORTS = 90
"""Nights of a folder whose reports are kept."""
_MOST_BYTES = 8 * 2**20  # packed; the report beside the table is there in any case


class Packer:
    """Packs a page for the store, piece by piece."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(level=1)
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, piece: str) -> None:
        """Take in the next piece."""
        if self._size <= _MOST_BYTES:
            part = self._packer.compress(piece.encode())
            self._parts.append(part)
            self._size += len(part)

    def packed(self) -> bytes | None:
        """All of it; None if that is too large to be kept."""
        return None if self._size > _MOST_BYTES else b"".join((*self._parts, self._packer.flush()))


class Nights:
    """The runs; every method raises StoreError where the database fails."""

    def __init__(self, database: Database) -> None:
        """Read from `database`, which is migrated."""
        self._database = database

    def last(self, most: int, directory: bytes | None = None) -> list[dict[str, Any]]:
        """The columns of the last runs, the oldest first, and whether there is a `report`.

        Of all runs, or only of those over `directory`.
        """
        query = (
            sa.select(runs, reports.c.run.is_not(None).label("report"))
            .select_from(runs.outerjoin(reports))
            .order_by(runs.c.id.desc())
            .limit(most)
        )
        if directory is not None:
            query = query.where(runs.c.directory == directory)
        with self._database.reading() as connection:
            return [dict(row._mapping) for row in connection.execute(query)][::-1]

    def directories(self, most: int | None = None) -> list[bytes]:
        """Where there was a run, each once, that of the last run first; all of them, or `most`."""
        latest_first = sa.func.max(runs.c.id).desc()
        query = sa.select(runs.c.directory).group_by(runs.c.directory).order_by(latest_first)
        with self._database.reading() as connection:
            return list(connection.scalars(query.limit(most)))

    def report(self, run: int) -> bytes | None:
        """The morning report of a run, an HTML page, if it is kept."""
        with self._database.reading() as connection:
            page = connection.scalar(sa.select(reports.c.page).where(reports.c.run == run))
        return None if page is None else zlib.decompress(page)
