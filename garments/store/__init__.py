"""Nights, photos, answers and reviews in SQL: SQLite by default, PostgreSQL by URL."""

from garments.store.database import Database, StoreError
from garments.store.lock import Busy
from garments.store.records import Answer, Known, Outcome, Photo, Stamp
from garments.store.store import Store

__all__ = [
    "Answer",
    "Busy",
    "Database",
    "Known",
    "Outcome",
    "Photo",
    "Stamp",
    "Store",
    "StoreError",
]
