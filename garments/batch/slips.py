"""What the return slips say: a CSV of `filename,expected`."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from garments.batch.errors import UsageError
from garments.batch.walk import Findings
from garments.predictions import name_of


def read_slips(path: Path, labels: Sequence[str], findings: Findings) -> None:
    """Add the name and class of each line to `findings`; a class is one of `labels`, or its number.

    Case and spaces do not count. Files are named as in `predictions.csv`. Raises UsageError for
    a line that cannot be understood or names a file again.
    """
    numbers = {_plain(label): number for number, label in enumerate(labels)}
    numbers |= {str(number): number for number in range(len(labels))}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if not {"filename", "expected"} <= set(reader.fieldnames or ()):
                raise UsageError(f"{path}, line 1: the header must name filename,expected")
            for cells in reader:
                place = f"{path}, line {reader.line_num}"
                if not cells["filename"] or cells["expected"] is None:
                    raise UsageError(f"{place}: there must be a filename and what is expected")
                name = os.fsencode(name_of(cells["filename"]))
                number = numbers.get(_plain(cells["expected"]))
                if number is None:
                    raise UsageError(
                        f"{place}: {cells['expected']!r} is no category; "
                        f"they are {', '.join(labels)}, or 0 to {len(labels) - 1}"
                    )
                if not findings.expect(name, number):
                    raise UsageError(f"{place}: {cells['filename']!r} stands twice")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no CSV in UTF-8: {error}") from error


def _plain(text: str) -> str:
    return "".join(text.split()).casefold()
