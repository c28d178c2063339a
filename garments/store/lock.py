"""One night at a time on one database; the lock dies with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from garments.store.database import Database, StoreError

_KEY = 0x6761726D656E7473  # "garments": advisory locks of PostgreSQL are numbers


# A machine that loses power says no farewell: the server finds out within a minute, not after the
# two hours that are the default. Over a Unix socket, which ends with its process, they do nothing.
_KEEPALIVES = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


class Busy(Exception):
    """Another process holds the lock; the text says which."""


Check = Callable[[], None]
"""Raises StoreError where the lock is lost."""


@contextmanager
def locked(database: Database, holder: str) -> Iterator[Check]:
    """Keep others off `database`, as `holder`: what it is, and which process.

    Raises Busy and StoreError.
    """
    with (_file_locked if database.on_sqlite else _advisory_locked)(database, holder) as check:
        yield check


@contextmanager
def _file_locked(database: Database, holder: str) -> Iterator[Check]:
    # The file stays when the night ends: to remove it would let two others in.
    path = f"{os.path.realpath(database.file)}.lock"  # one for all links to the file
    try:
        file = open_locked(path, holder)
    except Busy as busy:
        raise Busy(_told(str(busy))) from None
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}; its folder must be there, and this user "
            "able to write it, like the database itself"
        ) from error
    with file:
        yield lambda: None  # it is held for as long as the file is open


def open_locked(path: str, holder: str) -> FileIO:
    """Open a file that is locked for as long as it is open, and says `holder`.

    Raises Busy with what it says where it is locked already, and OSError.
    """
    with ExitStack() as stack:
        file = stack.enter_context(open(path, "a+b", buffering=0))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Busy(file.read().decode(errors="replace")) from None
        file.truncate(0)
        file.write(holder.encode())
        stack.pop_all()
    return file


@contextmanager
def _advisory_locked(database: Database, holder: str) -> Iterator[Check]:
    with database.connect() as connection:
        # What others are told is the name of the connection that holds the lock.
        session = {"application_name": holder[:63], **_KEEPALIVES}
        for name, value in session.items():
            connection.execute(sa.select(sa.func.set_config(name, value, False)))
        free = connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_KEY)))
        told = "" if free else connection.scalar(_HOLDER) or ""
        connection.commit()
        if not free:
            raise Busy(_told(told))

        def check() -> None:
            """The lock is the connection's: that is cut where the server, or a firewall, ends."""
            try:
                connection.execute(sa.select(1))
                connection.commit()
            except SQLAlchemyError as error:
                raise StoreError(
                    f"the database {database} has ended the connection that keeps other nights "
                    "off: run the night again"
                ) from error

        try:
            yield check
        finally:
            connection.invalidate()


_HOLDER = sa.text(
    "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid)"
    " WHERE locktype = 'advisory' AND granted AND classid = :high AND objid = :low"
    " AND datname = current_database()"  # a server may have several, each with its nights
).bindparams(high=_KEY >> 32, low=_KEY & 0xFFFFFFFF)


def _told(holder: str) -> str:
    what, _, process = holder.partition(" ")
    if not process:
        return "another night is running: it does not say where"
    name = "another night" if what == "night" else f"garments.{what}"
    return f"{name} is running: process {process}"
