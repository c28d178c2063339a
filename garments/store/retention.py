"""Drop what is of no use any more: answers for photos that are gone, and that nobody judged."""

from __future__ import annotations

import os
import socket
import time
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from garments.store.database import Database
from garments.store.queue import live
from garments.store.tables import STANDS, WAITS, answers, leases, photos, reviews, runs, skips

_PARTS = 16  # of all contents, by the first of their digest's hexadecimal digits


class Pruned(NamedTuple):
    """How many answers went, and how many there are now."""

    dropped: int
    kept: int


def prune(database: Database, before: datetime) -> Pruned:
    """Drop what was answered `before`, of contents that no photo has and no review is of.

    With a directory that is gone go its photos, if no night has run over it since and the last one
    ran on this machine, but for those that wait for people. Should a photo come back, a night sends
    it again. No night may run meanwhile; each of several transactions is whole or not at all, and
    between them others can write. Raises StoreError.
    """
    dropped = 0
    _drop_photos_of_gone_directories(database, before)
    for part in range(_PARTS):
        dropped += _drop_answers(database, before, part)
    with database.writing() as connection:
        connection.execute(leases.delete().where(~live(time.time())))
        connection.execute(skips.delete().where(skips.c.at < before))
        kept = connection.scalar(sa.select(sa.func.count()).select_from(answers))
    return Pruned(dropped, kept or 0)


def _drop_photos_of_gone_directories(database: Database, before: datetime) -> None:
    last = (
        sa.select(sa.func.max(runs.c.id))
        .group_by(runs.c.directory)
        .having(sa.func.max(runs.c.started) < before)
    )
    # What another machine sorts is not to be seen from here, and not gone for that.
    unused = sa.select(runs.c.directory).where(
        runs.c.id.in_(last), runs.c.host == socket.gethostname()
    )
    settled = sa.select(reviews.c.digest).where(STANDS, reviews.c.at < before)
    waits = WAITS & photos.c.digest.not_in(settled)
    with database.reading() as connection:
        directories = list(connection.scalars(unused))
    for directory in directories:
        if not os.path.isdir(directory):
            with database.writing() as connection:
                connection.execute(photos.delete().where(photos.c.directory == directory, ~waits))


def _drop_answers(database: Database, before: datetime, part: int) -> int:
    # Of photos there is no index by digest: to look for one at a time would take for ever.
    with_photo = sa.select(photos.c.digest).where(_is_in(part, photos.c.digest))
    judged = sa.select(reviews.c.digest).where(_is_in(part, reviews.c.digest))
    unused = answers.delete().where(
        _is_in(part, answers.c.digest),
        answers.c.run.in_(sa.select(runs.c.id).where(runs.c.started < before)),
        answers.c.digest.not_in(with_photo),
        answers.c.digest.not_in(judged),
    )
    with database.writing() as connection:
        return connection.execute(unused).rowcount


def _is_in(part: int, digest: sa.ColumnElement[bytes]) -> sa.ColumnElement[bool]:
    width = 256 // _PARTS
    from_there_on = digest >= bytes([part * width])
    if part == _PARTS - 1:
        return from_there_on
    return from_there_on & (digest < bytes([(part + 1) * width]))
