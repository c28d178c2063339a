"""What people said of photos: kept for good, one answer a content, none over another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NamedTuple

import sqlalchemy as sa

from garments.store.database import Database
from garments.store.queue import kind_of, last_answers
from garments.store.records import SETTLED
from garments.store.tables import STANDS, WAITS, leases, photos, reviews, skips

_PAGE = 1_000  # rows at a time


@dataclass(frozen=True)
class Decision:
    """What a person says of a content."""

    request: str
    """What the page calls it: a decision that is sent again is the same one."""
    digest: bytes
    answer: int | None
    """None for none of the classes."""
    who: str


class Review(NamedTuple):
    """A decision that stands, and what the model had said then."""

    id: int
    digest: bytes
    answer: int | None
    who: str
    at: datetime
    """With its time zone."""
    kind: str
    """One of queue.KINDS."""
    directory: bytes | None
    """Where the photo was, with `name`; empty where it was gone before the decision came."""
    name: bytes | None
    expected: int | None
    model: str
    prediction: int
    confidence: float
    decision: str


class Decided(Exception):
    """Somebody has answered for that content already; `review` is that answer."""

    def __init__(self, review: Review) -> None:
        super().__init__(f"{review.who} has decided on it already")
        self.review = review


class Unknown(Exception):
    """No model has ever answered for that content, or no such review can be taken back."""


_COLUMNS = [reviews.c[name] for name in Review._fields]


class Reviews:
    """The decisions; every method raises StoreError where the database fails."""

    def __init__(self, database: Database) -> None:
        """Read from and write to `database`, which is migrated."""
        self._database = database

    def decide(self, decision: Decision) -> Review:
        """Keep a decision, or find that it is kept. Raises Decided and Unknown.

        It need not have a lease: what a person has said is kept unless somebody else was first.
        """
        with self._database.writing() as connection:
            insert = self._database.insert(reviews).values(self._row(connection, decision))
            # Whatever is there already, the same request or another decision, stays.
            connection.execute(insert.on_conflict_do_nothing())
            same = reviews.c.request == decision.request
            kept = connection.execute(sa.select(*_COLUMNS).where(same)).first()
            if kept is None:
                standing = (reviews.c.digest == decision.digest) & STANDS
                first = connection.execute(sa.select(*_COLUMNS).where(standing)).one()
                raise Decided(Review._make(first))
            for table in (leases, skips):
                connection.execute(table.delete().where(table.c.digest == decision.digest))
            return Review._make(kept)

    @staticmethod
    def _row(connection: sa.Connection, decision: Decision) -> dict[str, Any]:
        said = last_answers(connection, [decision.digest]).get(decision.digest)
        if said is None:
            raise Unknown("no model has answered for that photo")
        of_it = sa.select(photos).where(photos.c.digest == decision.digest)
        by_name = photos.c.directory, photos.c.name
        waits = of_it.where(WAITS)
        shown = connection.execute(waits.order_by(photos.c.waiting, *by_name)).first()
        # It may have left the queue while a person had it before them. No index finds it then:
        # all photos are read, some 0.1 s for 300,000. That is rare, a few photos a tab and night.
        place = shown or connection.execute(of_it.order_by(*by_name).limit(1)).first()
        # Of what waits no more it is not known whether chance chose it. As "wrong" it is held to
        # tell of nothing but itself.
        kind = "doubtful" if said.decision == "review" else "wrong"
        return {
            **vars(decision),
            "at": datetime.now(timezone.utc),
            "kind": kind_of(shown.waiting) if shown else kind,
            "directory": place and place.directory,
            "name": place and place.name,
            "expected": place and place.expected,
            "model": said.model,
            "prediction": said.prediction,
            "confidence": said.confidence,
            "decision": said.decision,
        }

    def undo(self, number: int, who: str) -> bytes:
        """Take back a decision of one's own; the content that it was on. Raises Unknown.

        So it does for one that is SETTLED, since in an archive its photo could not wait again. To
        take back again what does not stand any more changes nothing.
        """
        own = (reviews.c.id == number) & (reviews.c.who == who)
        with self._database.writing() as connection:
            kept = connection.execute(sa.select(reviews).where(own)).first()
            if kept is None:
                raise Unknown("there is no such decision of yours")
            now = datetime.now(timezone.utc)
            if kept.undone is None and kept.at < now - SETTLED:
                raise Unknown("that was decided too long ago to be taken back")
            connection.execute(reviews.update().where(own, STANDS).values(undone=now))
            digest: bytes = kept.digest
            return digest

    def latest(self, who: str, most: int) -> list[int]:
        """The numbers of a person's last decisions that may be taken back, the oldest first."""
        not_settled = reviews.c.at >= datetime.now(timezone.utc) - SETTLED
        query = (
            sa.select(reviews.c.id)
            .where(reviews.c.who == who, STANDS, not_settled)
            .order_by(reviews.c.id.desc())
            .limit(most)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))[::-1]

    def recent(self, most: int) -> list[Review]:
        """The last decisions that stand, the oldest first."""
        query = sa.select(*_COLUMNS).where(STANDS).order_by(reviews.c.id.desc()).limit(most)
        with self._database.reading() as connection:
            return [Review._make(row) for row in connection.execute(query)][::-1]

    def standing(self) -> Iterator[Review]:
        """All decisions that stand, the oldest first, read some at a time."""
        query = sa.select(*_COLUMNS).where(STANDS)
        return map(Review._make, self._database.paged(query, reviews.c.id, 0, _PAGE))

    def undone(self) -> list[tuple[bytes, int | None]]:
        """Contents and the answers that were taken back, whatever else was said of them since."""
        query = sa.select(reviews.c.digest, reviews.c.answer).where(~STANDS)
        with self._database.reading() as connection:
            return [(digest, answer) for digest, answer in connection.execute(query)]
