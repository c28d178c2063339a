"""Nights, photos and answers in SQL: SQLite by default, PostgreSQL by URL."""

from garments.store.database import StoreError
from garments.store.lock import Busy
from garments.store.store import Answer, Known, Outcome, Photo, Stamp, Store

__all__ = ["Answer", "Busy", "Known", "Outcome", "Photo", "Stamp", "Store", "StoreError"]
