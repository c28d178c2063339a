"""How what was read and answered gets into the tables, whatever is there already."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import sqlalchemy as sa

from garments.store.tables import answers, photos

_Insert = Callable[[sa.Table], Any]


def keeping_answers(insert: _Insert) -> Any:
    """Insert answers, or replace those of the same model for the same content.

    A thumbnail stays where there is no new one: a person may have answered by it, and no other
    picture of the content may be left. It makes nothing part of a random sample, though.
    """
    upsert = insert(answers)
    rest = [column.name for column in answers.c if not column.primary_key]
    stays = upsert.excluded.thumbnail.is_(None) & answers.c.thumbnail.is_not(None)
    return upsert.values(_bound(answers, but=("drawn_for_slip",))).on_conflict_do_update(
        index_elements=[answers.c.digest, answers.c.model],
        set_={
            **{name: upsert.excluded[name] for name in rest},
            "thumbnail": sa.func.coalesce(upsert.excluded.thumbnail, answers.c.thumbnail),
            "drawn_for_slip": sa.case((stays, sa.true())),
        },
    )


def keeping_photos(insert: _Insert) -> Any:
    """Insert photos, or what is new of them; one with the same content stays of its first run."""
    upsert = insert(photos)
    rest = ("size", "modified", "changed", "digest", "problem")
    same = photos.c.digest == upsert.excluded.digest
    return upsert.values(_bound(photos, but=("expected", "waiting"))).on_conflict_do_update(
        index_elements=[photos.c.directory, photos.c.name],
        set_={
            **{name: upsert.excluded[name] for name in rest},
            "run": sa.case((same, photos.c.run), else_=upsert.excluded.run),
            "waiting": sa.case((same, photos.c.waiting)),
        },
    )


def _bound(table: sa.Table, but: Collection[str] = ()) -> dict[str, sa.BindParameter[Any]]:
    return {column.name: sa.bindparam(column.name) for column in table.c if column.name not in but}
