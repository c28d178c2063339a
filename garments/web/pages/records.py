"""The nights' database, as the pages need it: opened late, and never required."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from garments.web.problems import Refusal

if TYPE_CHECKING:
    from garments.store.desk import Desk

logger = logging.getLogger(__name__)


class Records:
    """The store at `url`; safe to use from several threads.

    A page is answered within some `seconds`, or the worker counts as stuck.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self._url = url
        # Before the statement it connects, which may take a while too.
        self._seconds = seconds / 2
        self._lock = Lock()
        self._desk: Desk | None = None

    @contextmanager
    def opened(self) -> Iterator[Desk | None]:
        """The store for the time of the block, None while no night has made one.

        Raises Refusal, also for a StoreError in the block.
        """
        # Slow to import, and of no use to a service that only answers.
        from garments.store import StoreError

        try:
            yield self._open()
        except StoreError as error:
            logger.error("a page cannot be shown: %s", error)
            # A backup of an older version may be in its place: opened anew, it is migrated.
            self._desk = None
            detail = "the database cannot be used; the service's log says why"
            raise Refusal("no_database", detail) from error

    @contextmanager
    def required(self) -> Iterator[Desk]:
        """As `opened`, but raises Refusal while there is none.

        That is nothing for good: the database may be on a disk that is not there yet, and what
        is sent again later is kept.
        """
        with self.opened() as desk:
            if desk is None:
                detail = "there is no database: no night has run yet, or it is elsewhere"
                raise Refusal("no_database", detail)
            yield desk

    def _open(self) -> Desk | None:
        from garments.store.desk import Desk

        with self._lock:
            desk = self._desk or Desk(self._url, self._seconds)
            if not desk.database.exists():  # any more: to ask it would make an empty one
                self._desk = None
            elif self._desk is None:
                desk.open()
                self._desk = desk
            return self._desk
