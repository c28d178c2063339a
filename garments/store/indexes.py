"""Partial indexes; tests hold the migrations to them. A change needs one, as of the tables.

Apart from the tables: to name PostgreSQL loads its dialect, for which no night has to wait.
"""

from sqlalchemy import Index

from garments.store.tables import STANDS, WAITS, metadata, photos, reviews

__all__ = ["metadata"]

# Indexes of the few photos that wait: one of all contents would slow the night down.
Index(
    "photos_waiting",
    photos.c.waiting,
    photos.c.digest,
    sqlite_where=WAITS,
    postgresql_where=WAITS,
)
Index("photos_waiting_digest", photos.c.digest, sqlite_where=WAITS, postgresql_where=WAITS)

# Makes sure that no decision overwrites another.
Index(
    "reviews_standing",
    reviews.c.digest,
    unique=True,
    sqlite_where=STANDS,
    postgresql_where=STANDS,
)
