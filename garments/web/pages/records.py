"""The nights' database, as the pages need it: opened late, and never required."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from garments.web.problems import Refusal

if TYPE_CHECKING:
    from garments.store import Store

logger = logging.getLogger(__name__)


class Records:
    """The store at `url`; safe to use from several threads."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = Lock()
        self._store: Store | None = None

    @contextmanager
    def opened(self) -> Iterator[Store | None]:
        """The store for the time of the block, None while no night has made one.

        Raises Refusal, also for a StoreError in the block.
        """
        # Slow to import, and of no use to a service that only answers.
        from garments.store import StoreError

        try:
            yield self._open()
        except StoreError as error:
            logger.error("a page cannot be shown: %s", error)
            detail = "the database cannot be used; the service's log says why"
            raise Refusal("no_database", detail) from error

    def _open(self) -> Store | None:
        from garments.store import Store
        from garments.store.database import Database

        with self._lock:
            if self._store is None and Database(self._url).exists():
                store = Store(self._url)
                store.open()
                self._store = store
            return self._store
