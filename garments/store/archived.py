"""Photos that wait for people though they have left for an archive, where no night looks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

import sqlalchemy as sa

from garments.store.database import Database
from garments.store.records import SETTLED
from garments.store.tables import STANDS, WAITS, photos, reviews, runs


class Archived:
    """The photos of one archive; every method raises StoreError."""

    def __init__(self, database: Database, archive: bytes) -> None:
        """Write to `database`, which is migrated and should be durable: see `follow`."""
        self._database = database
        self._archive = archive

    def begin(self, run: int, model: str) -> None:
        """Note that the table of a run, by `model`, is written, and its photos may be gone now."""
        noted = runs.update().where(runs.c.id == run).values(archiving=True, model=model)
        with self._database.writing() as connection:
            connection.execute(noted)

    def follow(self, directory: bytes, names: Mapping[bytes, bytes]) -> None:
        """Let those photos of `directory` that wait for people do so in the archive.

        `names` are the names there by those here. Once they are gone from here no other night could
        put them into the queue: with a durable database they are on the disk when this returns.
        """
        here = (photos.c.directory == directory) & photos.c.name.in_(names)
        with self._database.writing() as connection:
            waiting = connection.execute(photos.select().where(here, WAITS)).mappings()
            moved = [
                {**row, "directory": self._archive, "name": names[row["name"]]} for row in waiting
            ]
            if not moved:
                return
            there = sa.select(photos.c.name, photos.c.digest).where(
                photos.c.directory == self._archive,
                photos.c.name.in_([row["name"] for row in moved]),
            )
            taken = {name: digest for name, digest in connection.execute(there)}
            for row in moved:
                # Of a file that was taken out of the archive, so that its name was free.
                if taken.get(row["name"], row["digest"]) != row["digest"]:
                    row["name"] = marked(row["name"], row["digest"])
            upsert = self._database.insert(photos)
            rest = {c.name: upsert.excluded[c.name] for c in photos.c if not c.primary_key}
            keys = [photos.c.directory, photos.c.name]
            upsert = upsert.on_conflict_do_update(index_elements=keys, set_=rest)
            connection.execute(upsert, moved)
            # A page shall name the place where the photo is from now on.
            connection.execute(photos.update().where(here).values(waiting=None))

    def drop_answered(self) -> None:
        """Forget those that people have answered for, once that is settled, whatever the archive.

        Where nights sort a folder that others archive to, its photos are theirs to forget.
        """
        long_ago = datetime.now(timezone.utc) - SETTLED
        answered = sa.exists().where(
            reviews.c.digest == photos.c.digest,
            STANDS,
            reviews.c.at < long_ago,
        )
        drop = photos.delete().where(
            WAITS,  # as all do here; of these there is an index
            photos.c.directory.not_in(sa.select(runs.c.directory)),
            answered,
        )
        with self._database.writing() as connection:
            connection.execute(drop)


def marked(name: bytes, digest: bytes) -> bytes:
    """An image's name that only this content can have, where `name` is taken by another."""
    stem, _, extension = name.rpartition(b".")  # also of a file `.jpg`
    return b"%b-%b.%b" % (stem, digest.hex()[:12].encode(), extension)
