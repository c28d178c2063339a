"""Open the database, prove that it can be relied on, and bring its schema up to date."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from garments.store.tables import SCHEMA

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_SECONDS = 30
_CONNECT_SECONDS = 10
_WRITING = "garments_writing"
_KEY = 0x736368656D61  # "schema": advisory locks of PostgreSQL are numbers

_Rows = list[dict[str, Any]]


class StoreError(Exception):
    """The database cannot be used; the text says why, and what to do."""


class Database:
    """Transactions on SQLite or PostgreSQL; safe to use from several threads.

    Every method raises StoreError where the database fails.
    """

    def __init__(
        self, url: str, *, durable: bool = False, pooled: bool = True, seconds: float | None = None
    ) -> None:
        """Prepare to connect. Raises StoreError for a URL that names no such database.

        A `durable` one is on the disk with every commit, whatever happens to the machine; one that
        is not `pooled` holds no connection between two transactions. PostgreSQL has `seconds` for
        a statement, as long as it likes without; SQLite waits no longer than them for others.
        """
        self._busy_seconds = _BUSY_SECONDS if seconds is None else min(_BUSY_SECONDS, seconds)
        try:
            self.url = _parsed(url)
            if self.url.drivername in ("postgresql", "postgres"):
                self.url = self.url.set(drivername="postgresql+psycopg")
            if self.url.get_backend_name() not in ("sqlite", "postgresql"):
                raise ValueError("it names neither SQLite nor PostgreSQL")
            self.on_sqlite = self.url.get_backend_name() == "sqlite"
            if not self.on_sqlite:  # the server's own may be one that not all texts have
                self.url = self.url.update_query_dict({"client_encoding": "utf8"})
            if self.on_sqlite and self.file.name in ("", ":memory:"):
                raise ValueError("it names no file")
            options: dict[str, float] = {"connect_timeout": _CONNECT_SECONDS}
            if self.on_sqlite:
                options = {"timeout": self._busy_seconds}
            elif seconds is not None:
                options["tcp_user_timeout"] = _milliseconds(seconds)
            self._engine = sa.create_engine(
                self.url,
                connect_args=options,
                poolclass=None if pooled else sa.NullPool,
                json_serializer=lambda value: orjson.dumps(value).decode(),
                json_deserializer=orjson.loads,
            )
        except (SQLAlchemyError, ValueError, ImportError) as error:
            raise StoreError(
                f"GARMENTS_DATABASE_URL cannot be used ({error}): it must be like "
                "sqlite:///predictions.db or postgresql://user:password@host/name, with %40 for "
                "an @ in the password"
            ) from error
        if self.on_sqlite:
            sa.event.listen(self._engine, "connect", _configure)
            if durable:
                sa.event.listen(self._engine, "connect", _sync_always)
            sa.event.listen(self._engine, "begin", _begin)
        elif seconds is not None:
            sa.event.listen(self._engine, "connect", _bounded(seconds))

    def __str__(self) -> str:
        if self.on_sqlite:
            return str(self.file)
        # Among the options after a question mark there may be a password too.
        return self.url.set(query={}).render_as_string(hide_password=True)

    @property
    def file(self) -> Path:
        """Where SQLite keeps the data."""
        return Path(self.url.database or "")

    @property
    def files(self) -> list[Path]:
        """All that SQLite, and the lock of a night, may have on the disk."""
        endings = ("", "-wal", "-shm", "-journal", ".lock") if self.on_sqlite else ()
        real = os.path.realpath(self.file)
        return [Path(real + ending) for ending in endings]

    def exists(self) -> bool:
        """Whether there is a database; to connect would make the file of one that is missing."""
        return not self.on_sqlite or self.file.exists()

    def insert(self, table: sa.Table) -> Any:
        """An INSERT that can say what is to be done where there is a row already."""
        # The dialects are slow to import, and one of them is not needed.
        if self.on_sqlite:
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)

    def prepared(self, statement: sa.UpdateBase) -> Callable[[sa.Connection, _Rows], None]:
        """What carries out `statement` for many rows, whose values are as the driver has them.

        SQLAlchemy would look at every value of every row, which takes longer than to write it.
        """
        compiled: Any = statement.compile(dialect=self._engine.dialect)
        order: list[str] | None = compiled.positiontup  # None where parameters go by name

        def carry_out(connection: sa.Connection, rows: _Rows) -> None:
            if rows:
                values = rows if order is None else list(map(itemgetter(*order), rows))
                connection.exec_driver_sql(compiled.string, values)

        return carry_out

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the data and changes nothing."""
        with self._told(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that is carried out whole, when the block ends, or not at all."""
        writing = self._engine.execution_options(**{_WRITING: True})
        with self._told(), writing.begin() as connection:
            yield connection

    def connect(self) -> sa.Connection:
        """A connection of the caller's own."""
        with self._told():
            return self._engine.connect()

    def migrate(self) -> None:
        """Check that the database can be relied on, and make or update its tables."""
        with self._told():
            if self.on_sqlite:
                self._check_journal()
            else:
                self._check_encoding()
            with self.reading() as connection:
                known = sa.inspect(connection).has_table("alembic_version")
                version = sa.text("SELECT version_num FROM alembic_version")
                found = connection.scalar(version) if known else None
            if found != SCHEMA:
                self._upgrade()

    def _check_encoding(self) -> None:
        with self.reading() as connection:
            encoding = connection.scalar(sa.text("SHOW server_encoding"))
        if encoding not in ("UTF8", "SQL_ASCII"):  # the second keeps all bytes as they come
            raise StoreError(
                f"{self} cannot keep all texts (its encoding is {encoding}): make another with "
                "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, bring there what is in this "
                "one (pg_dump … | psql …), and name it in GARMENTS_DATABASE_URL"
            )

    def _check_journal(self) -> None:
        deadline = time.monotonic() + self._busy_seconds
        while (mode := self._journal()) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if mode is None:
            raise StoreError(f"{self} is in use by another program, which keeps it: end that one")
        if mode != "wal":
            raise StoreError(
                f"{self} cannot be kept safe there (its journal is {mode!r} instead of 'wal'): "
                "put it on a local disk, or use PostgreSQL; see GARMENTS_DATABASE_URL"
            )

    def _journal(self) -> str | None:
        """The mode that its journal is in from now on; None where others are at it.

        SQLite does not always wait for these itself: a new database is opened by several at once.
        """
        with self._engine.connect() as connection:
            cursor = connection.connection.cursor()
            try:
                return str(cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0])
            except sqlite3.OperationalError as error:
                if "locked" in str(error):  # Python 3.10 tells no code
                    return None
                raise

    def _upgrade(self) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells its every step
        # Only needed now and then, and slow to import.
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        with self.writing() as connection:
            if not self.on_sqlite:  # which lets one write at a time anyway
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_KEY)))
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise StoreError(
                    f"{self} was written by a newer version of this program ({error}): "
                    "update the program, or name another GARMENTS_DATABASE_URL"
                ) from error

    def paged(
        self, query: sa.Select[Any], by: sa.ColumnElement[Any], after: object, size: int
    ) -> Iterator[sa.Row[Any]]:
        """The rows of `query` in the order of `by`, its first column, from `after` on.

        Read `size` at a time: memory stays flat, and no transaction stays open.
        """
        query = query.where(by > sa.bindparam("after")).order_by(by).limit(size)
        while True:
            with self.reading() as connection:
                page = connection.execute(query, {"after": after}).all()
            yield from page
            if len(page) < size:
                return
            after = page[-1][0]

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._engine.dispose()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            # The driver's own words, without the statement and its parameters.
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise StoreError(f"the database {self} cannot be used: {reason}") from error


def _parsed(url: str) -> sa.URL:
    """Raises SQLAlchemyError and ValueError, which tell nothing of the password."""
    # Where that has an @ of its own, what follows it is taken for host, port and database.
    try:
        parsed = sa.make_url(url)
    except ValueError:
        raise ValueError("its port is no number") from None
    if parsed.host and "@" in f"{parsed.host}/{parsed.database}":
        raise ValueError("its host or database contains an @")
    return parsed


def _configure(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where _begin says so, and nowhere else
    cursor = connection.cursor()
    # In WAL mode a crash of the machine can cost the last commits, which are then done again,
    # and cannot damage the file; waiting for the disk at every commit would cost a third.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")


def _sync_always(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA synchronous=FULL")


def _bounded(seconds: float) -> Callable[[Any, object], None]:
    def bound(connection: Any, _: object) -> None:
        # Not among the options of the connection: the URL may have options of its own.
        connection.execute(f"SET statement_timeout = {_milliseconds(seconds)}")
        connection.commit()

    return bound


def _milliseconds(seconds: float) -> int:
    return max(round(seconds * 1000), 1)  # PostgreSQL takes 0 for no bound at all


def _begin(connection: sa.Connection) -> None:
    # Whoever wants to write must say so before reading, or two that do both would be stuck.
    writing = connection.get_execution_options().get(_WRITING)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
