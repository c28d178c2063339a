"""What the return slips say: a CSV of `filename,expected`."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from garments.batch.errors import UsageError
from garments.batch.findings import Findings
from garments.cells import name_of
from garments.predictions import TableError, numbers_of, opened, plain

_MOST_TOLD = 5
_UNKNOWN = " is no category"


def read_slips(path: Path, labels: Sequence[str], findings: Findings) -> None:
    """Add the name and class of each line to `findings`; a class is one of `labels`, or its number.

    Case and spaces do not count. Files are named as in `predictions.csv`. Raises UsageError, which
    tells of all lines that cannot be understood or name a file again.
    """
    try:
        with opened(path) as reader:
            faults = list(_faults(path, reader, numbers_of(labels), findings))
    except TableError as error:
        raise UsageError(str(error)) from error
    if faults:
        more = len(faults) - _MOST_TOLD
        told = [*faults[:_MOST_TOLD], *([f"and {more:,} lines more"] if more > 0 else [])]
        advice = (
            f": a category is one of {', '.join(labels)}, or 0 to {len(labels) - 1}; "
            "leave out items that are none of these"
        )
        raise UsageError(f"{path}, {'; '.join(told)}{advice if _UNKNOWN in str(told) else ''}")


def _faults(
    path: Path, reader: csv.DictReader[str], numbers: Mapping[str, int], findings: Findings
) -> Iterator[str]:
    """Take in the lines that are understood; what is wrong with the others."""
    header = reader.fieldnames or ()
    if not {"filename", "expected"} <= set(header):
        raise UsageError(
            f"{path}, line 1: the header must name filename,expected, with a comma between them; "
            f"it is {','.join(header)[:80]!r}"
        )
    for name in ("filename", "expected"):
        if header.count(name) > 1:
            raise UsageError(f"{path}, line 1: the column {name} stands twice: leave one")
    for cells in reader:
        filename, expected = cells["filename"], cells["expected"]
        if any(cell.strip() for cell in cells.get(None, ())):
            yield (
                f"line {reader.line_num}: it has more cells than the header: "
                "put names with commas in quotes"
            )
        elif not filename or expected is None:
            yield f"line {reader.line_num}: there must be a filename and what is expected"
        elif (number := numbers.get(plain(expected))) is None:
            yield f"line {reader.line_num}: {expected!r}{_UNKNOWN}"
        elif not findings.expect(os.fsencode(name_of(filename)), number):
            yield f"line {reader.line_num}: {filename!r} stands twice"
