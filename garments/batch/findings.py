"""What was found for a night or a job, sorted on disk, whatever its number."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Protocol, TypeVar

from garments.batch.errors import UsageError
from garments.batch.walk import Found
from garments.cells import alike
from garments.store import Stamp


class _Named(Protocol):
    @property
    def name(self) -> bytes: ...


_One = TypeVar("_One", bound=_Named)
_Other = TypeVar("_Other", bound=_Named)


class Findings:
    """What a walk found, and what the return slips say, sorted on disk: memory stays flat."""

    def __init__(self) -> None:
        # A database without a name is a temporary file that goes with the connection.
        self._scratch = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._scratch.executescript("""
            PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;
            CREATE TABLE found(name BLOB, size INTEGER, modified INTEGER, changed INTEGER);
            CREATE TABLE slips(name BLOB PRIMARY KEY, class INTEGER) WITHOUT ROWID;
            CREATE TABLE parted(name BLOB PRIMARY KEY) WITHOUT ROWID;
        """)

    def close(self) -> None:
        """Let go of the file."""
        self._scratch.close()

    def add(self, found: Iterable[Found]) -> None:
        """Take in what a walk finds. Each name may come once."""
        rows = ((name, *stamp) for name, stamp in found)
        self._scratch.executemany("INSERT INTO found VALUES (?, ?, ?, ?)", rows)

    def expect(self, name: bytes, number: int) -> bool:
        """Take in the class on a return slip; False where there is one for that name already."""
        slip = (name, number)
        return self._scratch.execute("INSERT OR IGNORE INTO slips VALUES (?, ?)", slip).rowcount > 0

    def __len__(self) -> int:
        (count,) = self._scratch.execute("SELECT count(*) FROM found").fetchone()
        return int(count)

    def __iter__(self) -> Iterator[Found]:
        """What was found, sorted by name."""
        rows = self._scratch.execute(
            "SELECT name, size, modified, changed FROM found ORDER BY name"
        )
        return (Found(name, Stamp(*stamp)) for name, *stamp in rows)

    def slips(self) -> Iterator[tuple[bytes, int]]:
        """The slips of what was found: name and class, sorted by name."""
        return self._scratch.execute(
            "SELECT name, class FROM slips WHERE name IN (SELECT name FROM found) ORDER BY name"
        )

    def match_slips(self) -> None:
        """Let slips that name no file be of the one whose name is alike, if only one is.

        Alike but for blanks at the ends and the Unicode form, and of one slip alone.
        """
        if not self.slips_without_photo()[0]:
            return
        self._scratch.executescript("""
            CREATE TABLE alike(both BLOB, slip BLOB, photo BLOB);
            CREATE TABLE pairs(slip BLOB PRIMARY KEY, photo BLOB) WITHOUT ROWID;
        """)
        for query in ("SELECT name, NULL FROM slips", "SELECT NULL, name FROM found"):
            # Not as a function of SQLite's, which would tell an interrupt as a fault of its own.
            names = self._scratch.execute(query)
            self._scratch.executemany(
                "INSERT INTO alike VALUES (?, ?, ?)",
                ((_alike(slip or photo), slip, photo) for slip, photo in names),
            )
        self._scratch.executescript("""
            INSERT INTO pairs SELECT max(slip), max(photo) FROM alike
                GROUP BY both HAVING count(slip) = 1 AND count(photo) = 1;
            UPDATE slips SET name = (SELECT photo FROM pairs WHERE slip = slips.name)
                WHERE name IN (SELECT slip FROM pairs);
        """)

    def slips_without_photo(self) -> tuple[int, bytes]:
        """How many slips name no file that was found, and the first of these names."""
        count, first = self._scratch.execute(
            "SELECT count(*), min(name) FROM slips WHERE name NOT IN (SELECT name FROM found)"
        ).fetchone()
        return int(count), first or b""

    def part_with(self, names: Iterable[bytes]) -> None:
        """Take in what is to be forgotten, to be had at once when all of it is known."""
        self._scratch.executemany(
            "INSERT OR IGNORE INTO parted VALUES (?)", ((name,) for name in names)
        )

    def parted(self) -> Iterator[bytes]:
        """All of that."""
        return (name for (name,) in self._scratch.execute("SELECT name FROM parted"))


def _alike(name: bytes) -> bytes:
    return os.fsencode(alike(os.fsdecode(name)))


@contextmanager
def scratch() -> Iterator[Findings]:
    """Findings in a temporary file, and a way out where there is no room for it."""
    try:
        with closing(Findings()) as findings:
            yield findings
    except sqlite3.Error as error:
        raise UsageError(
            f"the temporary file of names cannot be used ({error}): make room, or name another "
            "folder in TMPDIR"
        ) from error


def paired(
    found: Iterable[_One], known: Iterable[_Other]
) -> Iterator[tuple[bytes, _One | None, _Other | None]]:
    """Each name in two streams that are sorted by it, with what each has of it, if anything."""
    rest = iter(known)
    other = next(rest, None)
    for one in found:
        while other is not None and other.name < one.name:
            yield other.name, None, other
            other = next(rest, None)
        same = None
        if other is not None and other.name == one.name:
            same, other = other, next(rest, None)
        yield one.name, one, same
    while other is not None:
        yield other.name, None, other
        other = next(rest, None)
