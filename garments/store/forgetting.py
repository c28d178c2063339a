"""How photos are dropped from the table of what is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import sqlalchemy as sa

from garments.store.tables import photos

_AT_ONCE = 500  # names in a statement, of which none can have too many


def forgetting(
    directory: bytes | sa.ScalarSelect[bytes], names: Iterable[bytes]
) -> Iterator[sa.Delete]:
    """The statements that drop photos of `directory`, with their slips; answers stay."""
    left, here = iter(names), photos.c.directory == directory
    while some := list(islice(left, _AT_ONCE)):
        yield photos.delete().where(here, photos.c.name.in_(some))
