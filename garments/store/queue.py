"""Which photos people should look at, and who has which of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa

from garments.store.database import Database
from garments.store.tables import STANDS, WAITS, answers, leases, photos, reviews, runs, skips

KINDS = ("doubtful", "wrong", "sample")
"""Why a photo should be looked at, the most urgent first: the model is in doubt, or sure of
something else than the return slip says; or it is one of a random sample."""
LEASE_SECONDS = 300.0
_WIDTH = 2.0  # ranks of a kind go from 0 to 1, and each kind has so much room
_SPARE = 20
_SKEW = 60.0  # seconds that the clocks of several services may differ by
_KEY = 0x7175657565  # "queue": advisory locks of PostgreSQL are numbers

_STANDING = sa.exists().where(reviews.c.digest == photos.c.digest, STANDS)


@dataclass(frozen=True)
class Item:
    """A photo to look at, and what the last model to see it says."""

    digest: bytes
    directory: bytes
    name: bytes
    kind: str
    expected: int | None
    """The class on its return slip."""
    prediction: int
    label: str
    confidence: float
    top: list[list[Any]]
    """[label, confidence] of the likeliest classes, best first."""
    until: float
    """When the tab has it no more, in seconds since 1970."""


@dataclass(frozen=True)
class Progress:
    """How far people have come."""

    left: Mapping[str, int]
    """Contents that nobody has answered for, by kind."""
    hour: int
    """Answers in the last hour, of all people."""
    own: int
    """Those of the one who asks."""


def rank(kind: str, order: float) -> float:
    """Where a photo of that kind stands in the queue; `order`, within its kind, from 0 to 1."""
    return KINDS.index(kind) * _WIDTH + order


def kind_of(rank: float) -> str:
    """The kind of what has that rank."""
    return KINDS[min(int(rank // _WIDTH), len(KINDS) - 1)]


def live(now: float) -> sa.ColumnElement[bool]:
    """That a lease holds; a longer one than any is given is of a clock that was ahead."""
    return (leases.c.until > now) & (leases.c.until <= now + LEASE_SECONDS + _SKEW)


class Queue:
    """The photos that wait, the first first; every method raises StoreError.

    A `tab` that takes a photo has it alone for LEASE_SECONDS, and for as long again whenever it
    asks for more. One that is never heard of again keeps nothing from the others.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        """Read from and write to `database`, which is migrated; `clock` tells seconds since 1970.

        Machines whose clocks differ by much more than a second may hand out a photo twice, and
        the second answer for it is then refused.
        """
        self._database = database
        self._clock = clock

    def take(self, tab: str, who: str, most: int, kind: str | None = None) -> list[Item]:
        """Up to `most` photos for the tab alone: those that it has of the kind, then others of it.

        It keeps all that it has, and is given what is of another kind in the end. What the person
        passed over comes when there is nothing else.
        """
        skipped = sa.exists().where(skips.c.digest == photos.c.digest, skips.c.who == who)
        query = sa.select(leases.c.digest).where(leases.c.tab == tab, live(self._clock()))
        with self._database.writing() as connection:
            self._wait_for_others(connection)
            held = connection.scalars(query).all()
            own = photos.c.digest.in_(held)
            kept = self._taken(connection, tab, len(held), None, own)
            # First, since what came free meanwhile may be ahead of what the person has in sight.
            taken = [row for row in kept if kind in (None, kind_of(row.waiting))]
            rest = [row for row in kept if row not in taken]
            for among in (~own & ~skipped, ~own & skipped):
                if len(taken) < most:
                    taken += self._taken(connection, tab, most - len(taken), kind, among)
            return self._items(connection, [*taken, *rest][:most])

    def _wait_for_others(self, connection: sa.Connection) -> None:
        """Let one take photos at a time, to the end of the transaction, as SQLite does anyway.

        Two who took the same ones in another order, of what each has passed over, would wait for
        each other for ever.
        """
        if not self._database.on_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_KEY)))

    def claim(self, tab: str, digest: bytes) -> Item | None:
        """The photo with that content for the tab alone; None if it waits no more, or is taken."""
        with self._database.writing() as connection:
            taken = self._taken(connection, tab, 1, None, photos.c.digest == digest)
            return next(iter(self._items(connection, taken)), None)

    def _taken(
        self,
        connection: sa.Connection,
        tab: str,
        most: int,
        kind: str | None,
        among: sa.ColumnElement[bool],
    ) -> list[Any]:
        now = self._clock()
        others = sa.exists().where(
            leases.c.digest == photos.c.digest, live(now), leases.c.tab != tab
        )
        query = (
            sa.select(
                photos.c.digest,
                photos.c.directory,
                photos.c.name,
                photos.c.expected,
                photos.c.waiting,
            )
            .where(WAITS, ~_STANDING, ~others, among)
            .order_by(photos.c.waiting, photos.c.digest, photos.c.directory, photos.c.name)
            .limit(most + _SPARE)
        )
        if kind is not None:
            least = rank(kind, 0)
            query = query.where(photos.c.waiting >= least, photos.c.waiting < least + _WIDTH)
        taken: dict[bytes, Any] = {}
        passed: set[bytes] = set()
        # More than asked for: of some there are several files, and others may be quicker.
        while len(taken) < most:
            fresh = query.where(photos.c.digest.not_in(passed)) if passed else query
            found = connection.execute(fresh).all()
            for row in found:
                if len(taken) < most and row.digest not in passed:
                    passed.add(row.digest)
                    if self._leased(connection, row.digest, tab, now):
                        taken[row.digest] = row
            if len(found) < most + _SPARE:
                break
        return list(taken.values())

    def _leased(self, connection: sa.Connection, digest: bytes, tab: str, now: float) -> bool:
        """Whether the tab has it from now on; somebody else may have been quicker."""
        upsert = self._database.insert(leases).values(
            digest=digest, tab=tab, until=now + LEASE_SECONDS
        )
        upsert = upsert.on_conflict_do_update(
            index_elements=[leases.c.digest],
            set_={"tab": upsert.excluded.tab, "until": upsert.excluded.until},
            where=~live(now) | (leases.c.tab == tab),
        )
        if connection.execute(upsert.returning(leases.c.digest)).first() is None:
            return False
        # PostgreSQL lets others decide between the search and this.
        decided = sa.select(reviews.c.id).where(reviews.c.digest == digest, STANDS)
        return connection.execute(decided).first() is None

    def _items(self, connection: sa.Connection, taken: Collection[Any]) -> list[Item]:
        """What is shown of each; of a content that no model could read there is nothing."""
        said = last_answers(connection, [row.digest for row in taken])
        return [
            Item(
                digest=row.digest,
                directory=row.directory,
                name=row.name,
                kind=kind_of(row.waiting),
                expected=row.expected,
                prediction=said[row.digest].prediction,
                label=said[row.digest].label,
                confidence=said[row.digest].confidence,
                top=said[row.digest].top or [],
                until=self._clock() + LEASE_SECONDS,
            )
            for row in taken
            if row.digest in said
        ]

    def skip(self, tab: str, who: str, digest: bytes) -> None:
        """Let others have it, and give it to this person again only at the end."""
        skip = self._database.insert(skips).values(digest=digest, who=who, at=_now())
        skip = skip.on_conflict_do_update(
            index_elements=[skips.c.digest, skips.c.who], set_={"at": skip.excluded.at}
        )
        # Of those that wait there is an index by digest; the others nobody is given anyway.
        waits = (photos.c.digest == digest) & WAITS
        with self._database.writing() as connection:
            if connection.scalar(sa.select(photos.c.digest).where(waits).limit(1)) is not None:
                connection.execute(skip)
            connection.execute(_release(tab, [digest]))

    def release(self, tab: str, digests: Collection[bytes], until: float = math.inf) -> None:
        """Let others have what the tab has taken and will not look at.

        What it has taken anew since, for longer than `until`, it keeps: a page that is loaded again
        may be quicker than what the old one sent at its end.
        """
        with self._database.writing() as connection:
            connection.execute(_release(tab, digests).where(leases.c.until <= until))

    def progress(self, who: str) -> Progress:
        """How many are left, and how fast they go."""
        kind = sa.case(
            *((photos.c.waiting < rank(name, _WIDTH), sa.literal(name)) for name in KINDS[:-1]),
            else_=sa.literal(KINDS[-1]),
        )
        left = (
            sa.select(kind, sa.func.count(photos.c.digest.distinct()))
            .where(WAITS, ~_STANDING)
            .group_by(kind)
        )
        done = sa.select(
            sa.func.count(), sa.func.coalesce(sa.func.sum(sa.case((reviews.c.who == who, 1))), 0)
        ).where(reviews.c.at > _now() - timedelta(hours=1), STANDS)
        with self._database.reading() as connection:
            counts = {name: count for name, count in connection.execute(left)}
            hour, own = connection.execute(done).one()
        return Progress({name: counts.get(name, 0) for name in KINDS}, hour, own)

    def thumbnail(self, digest: bytes) -> bytes | None:
        """A small JPEG or PNG of the content, if one is kept."""
        query = (
            sa.select(answers.c.thumbnail)
            .where(answers.c.digest == digest, answers.c.thumbnail.is_not(None))
            .order_by(answers.c.run.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            found: bytes | None = connection.scalar(query)
            return found


def last_answers(connection: sa.Connection, digests: Collection[bytes]) -> dict[bytes, Any]:
    """By digest, the answer of the model that the folder was last sorted by where it waits.

    Where that could not read it, of the one that saw it last; in an archive, which is no folder of
    a night's, that of the last night. Its `model` is the name@version of the one that answered.
    """
    later = runs.alias()
    last = sa.select(sa.func.max(later.c.id)).where(later.c.model.is_not(None))
    here = last.where(later.c.directory == photos.c.directory)
    # A night need not ask again what its model has answered before another one did.
    stands = sa.exists().where(
        photos.c.digest == answers.c.digest,
        WAITS,
        runs.c.id == sa.func.coalesce(here.scalar_subquery(), last.scalar_subquery()),
        runs.c.model == answers.c.model,
    )
    query = (
        sa.select(
            answers.c.digest,
            sa.func.coalesce(answers.c.answered_by, answers.c.model).label("model"),
            answers.c.prediction,
            answers.c.label,
            answers.c.confidence,
            answers.c.decision,
            answers.c.top,
        )
        .where(answers.c.digest.in_(digests), answers.c.prediction.is_not(None))
        .order_by(stands, answers.c.run)
    )
    return {row.digest: row for row in connection.execute(query)}


def _release(tab: str, digests: Collection[bytes]) -> sa.Delete:
    return leases.delete().where(leases.c.tab == tab, leases.c.digest.in_(digests))


def _now() -> datetime:
    return datetime.now(timezone.utc)
