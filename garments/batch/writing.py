"""Write a table, and tell why that failed and whether it is there all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from garments.batch.errors import AfterwardsError, UsageError
from garments.predictions import NotSynced, Row, write_predictions
from garments.store import Busy


def write_table(
    rows: Iterable[Row],
    output: Path,
    form: Callable[[Iterable[Row], Path], None] = write_predictions,
) -> None:
    """Write `rows` to `output` in a `form`. Whatever `rows` raises passes through.

    Raises UsageError; Busy where another process is at it; and AfterwardsError where the table is
    in its place, but perhaps not yet on the disk.
    """
    try:
        form(rows, output)
    except BlockingIOError as error:
        raise Busy(f"{output} is being written by another process") from error
    except NotSynced as error:
        told = f"{output} is written, but the disk says: {error.strerror}; nothing more was done"
        raise AfterwardsError(told) from error
    except OSError as error:
        place = f" ({error.filename})" if error.filename not in (None, str(output)) else ""
        why = f"{error.strerror or error}{place}"
        raise UsageError(f"{output} cannot be written: {why}") from error
