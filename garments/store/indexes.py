"""Partial indexes; tests hold the migrations to them. A change needs one, as of the tables.

Apart from the tables: to name PostgreSQL loads its dialect, for which no night has to wait.
"""

from sqlalchemy import Index

from garments.store.tables import metadata, photos, reviews

__all__ = ["metadata"]

_WAITS = photos.c.waiting.is_not(None)
# Indexes of the few photos that wait: one of all contents would slow the night down.
Index(
    "photos_waiting",
    photos.c.waiting,
    photos.c.digest,
    sqlite_where=_WAITS,
    postgresql_where=_WAITS,
)
Index("photos_waiting_digest", photos.c.digest, sqlite_where=_WAITS, postgresql_where=_WAITS)

_STANDS = reviews.c.undone.is_(None)
# Makes sure that no decision overwrites another.
Index(
    "reviews_standing",
    reviews.c.digest,
    unique=True,
    sqlite_where=_STANDS,
    postgresql_where=_STANDS,
)
