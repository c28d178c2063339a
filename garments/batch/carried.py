"""Photos that a night archived before it was cut short: the next table still has to name them."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from garments.batch.posting import Night
from garments.batch.walk import Findings
from garments.predictions import Row, TableError, read_predictions

logger = logging.getLogger(__name__)


def carried(night: Night, findings: Findings, classes: int) -> list[Row]:
    """The rows of photos that are gone since the last night wrote its table and did not end.

    Sorted by name; of `classes` classes. Such nights are few, and all rows are held at once.
    """
    written = night.store.runs.cut_short(night.run, night.directory)
    if written is None:
        return []
    path = Path(os.fsdecode(written))
    try:
        rows = read_predictions(path, classes)
    except TableError as error:
        logger.warning("what the last night archived before it was cut is in no table: %s", error)
        return []
    # What could not be read was not archived: whoever took it away had seen to it.
    gone = {os.fsencode(row.filename): row for row in rows if row.decision != "unreadable"}
    for name in findings.names():
        gone.pop(name, None)
    logger.info(
        "%s rows of %s stay: their photos were archived by a night that was cut short",
        *(f"{len(gone):,}", path),
    )
    return list(gone.values())
