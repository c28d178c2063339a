"""All that people do with the store, on one database."""

from __future__ import annotations

from garments.store.database import Database
from garments.store.nights import Nights
from garments.store.queue import Queue
from garments.store.reviews import Reviews


class Desk:
    """The queue, the reviews and the nights; every method of theirs raises StoreError."""

    def __init__(self, url: str, seconds: float | None = None) -> None:
        """Prepare for the database of `url`; nothing is opened before `open`.

        What is kept is on the disk, and no connection is held between two questions: they come
        seldom, and a server may have started anew in between. `seconds` is as for a `Database`.
        """
        self.database = Database(url, durable=True, pooled=False, seconds=seconds)
        self.queue = Queue(self.database)
        self.reviews = Reviews(self.database)
        self.nights = Nights(self.database)

    def open(self) -> None:
        """Check that the database can be relied on, and make or update its tables."""
        self.database.migrate()
