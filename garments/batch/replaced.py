"""What goes with a table whose place a new one takes: it alone names what its run archived."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from garments.batch.findings import paired
from garments.batch.state import Night
from garments.cells import name_of
from garments.predictions import COLUMNS, TableError, opened

logger = logging.getLogger(__name__)


class _Named(NamedTuple):
    name: bytes


def archived_rows(output: Path, night: Night, started: datetime) -> int:
    """How many rows of `output` may be of photos that an earlier run of the same day archived.

    One that somebody took away looks the same. 0 for the table of a day before: each night takes
    the place of the last. 0 for one of a run that was cut short too, whose rows are carried. Asked
    when all photos of `night` are recorded. Raises StoreError.
    """
    midnight = midnight_before(started)
    today = night.store.runs.begun_since(midnight, night.run)
    archiving = any(archived for _, archived in today)
    if night.unended or not archiving or not _is_since(midnight, output):
        return 0
    others = {folder for folder, _ in today} - {night.directory}
    known = night.store.outcomes(night.directory, night.model)
    stayed = (outcome for outcome in known if outcome.new_in <= night.new_after)
    count = 0
    with suppress(TableError):  # it is none of ours, or somebody has changed it
        for name, row, same in paired(_classified(output), stayed):
            elsewhere = (os.path.lexists(os.path.join(folder, name)) for folder in others)
            count += bool(row and not same and not any(elsewhere))
    return count


def midnight_before(moment: datetime) -> datetime:
    """When the day of `moment` began here, whatever clocks have done since."""
    return datetime(moment.year, moment.month, moment.day).astimezone()


def _is_since(moment: datetime, file: Path) -> bool:
    """Whether there is such a file, and it was written at that moment or later."""
    try:
        return file.stat().st_mtime >= moment.timestamp()
    except OSError:
        return False


def _classified(table: Path) -> Iterator[_Named]:
    """The photos that `table` has an answer for, in its order, which is by name."""
    with opened(table) as reader:
        if set(COLUMNS) <= set(reader.fieldnames or ()):
            for cells in reader:
                if cells["filename"] and cells["decision"] not in (None, "unreadable"):
                    yield _Named(os.fsencode(name_of(cells["filename"])))


def tell_replaced(output: Path, count: int) -> None:
    """Warn that `output` named `count` photos that are gone, which no table names any more."""
    if count:
        logger.warning(
            "%s named %s that an earlier run of today archived, or somebody took away, and no "
            "table does now: give each run of a day an --output of its own; to have their rows "
            "again, move them back and give their slips",
            output.name,
            f"{count:,} photo{'s' if count > 1 else ''}",
        )
