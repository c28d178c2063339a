"""Write a table, and tell why that failed and whether it is there all the same."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from garments.batch.errors import AfterwardsError, UsageError
from garments.in_place import InPlace, NotSynced
from garments.predictions import Row, write_predictions
from garments.store import Busy, StoreError

logger = logging.getLogger(__name__)


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
    except InPlace:
        raise KeyboardInterrupt(f"interrupted when {output} was written") from None
    except NotSynced as error:
        told = f"{output} is written, but the disk says: {error.strerror}; nothing more was done"
        raise AfterwardsError(told) from error
    except OSError as error:
        place = f" ({error.filename})" if error.filename not in (None, str(output)) else ""
        why = f"{error.strerror or error}{place}"
        raise UsageError(f"{output} cannot be written: {why}") from error


@contextmanager
def afterwards(output: Path | str) -> Iterator[None]:
    """Tell of what goes wrong in the block that the table itself is written.

    Raises AfterwardsError for whatever it raises, but a KeyboardInterrupt that says so.
    """
    try:
        yield
    except OSError as error:
        place = f" ({os.fsdecode(error.filename)})" if error.filename else ""
        why = error.strerror or error  # those of PyArrow are but a text
        raise AfterwardsError(f"{output} is written; then: {why}{place}") from error
    except (StoreError, UsageError) as error:
        raise AfterwardsError(f"{output} is written; then: {error}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted when {output} was written") from None
    except Exception as error:
        logger.exception("a fault of the program")
        raise AfterwardsError(f"{output} is written; then: {error!r}") from error
