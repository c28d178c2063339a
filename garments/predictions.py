"""`predictions.csv`: its columns, written whole or not at all, and read back."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from garments.cells import cell_of, name_of
from garments.in_place import replacing

# At which spreadsheets may part cells too, by the language that they are set to or by guess.
_OTHER_SEPARATORS = re.compile("[;\t|]")


class TableError(Exception):
    """A CSV is missing or malformed; the text says which, in which line, and how."""


class Row(NamedTuple):
    """One image of the night; the fields are the columns, "" where one does not apply."""

    filename: str
    prediction: str = ""
    label: str = ""
    confidence: str = ""
    decision: str = "unreadable"
    model: str = ""
    expected: str = ""
    error: str = ""

    @classmethod
    def answered(
        cls,
        filename: str,
        prediction: int,
        label: str,
        confidence: float,
        decision: str,
        model: str,
        expected: str = "",
    ) -> Row:
        """The row of an image that `model`, name@version, has an answer for."""
        shown = f"{confidence:.4f}"
        return cls(filename, str(prediction), label, shown, decision, model, expected)


DECISIONS = ("accept", "review", "reviewed", "unreadable")
"""`reviewed`: prediction and label are a person's answer, confidence is empty."""
NONE = "none of these"
"""The label of a person's answer that it is none of the classes, without a number."""
COLUMNS = Row._fields


def write_predictions(rows: Iterable[Row], path: Path) -> None:
    """Write `rows`, which come sorted; `path` then holds all of them, or what it held before.

    Whatever `rows` raises passes through. Raises ValueError for a row that is out of order or
    comes twice, and what `replacing` raises.
    """
    last = b""
    with replacing(path) as file:
        table, quoted = csv.writer(file), csv.writer(file, quoting=csv.QUOTE_ALL)
        table.writerow(COLUMNS)
        for row in rows:
            name = os.fsencode(row.filename)
            if not last < name:
                raise ValueError(f"{row.filename!r} comes twice, or too late")
            last = name
            # A spreadsheet that parts cells there would find a formula behind one.
            parted = _OTHER_SEPARATORS.search(row.filename)
            (quoted if parted else table).writerow((cell_of(row.filename), *row[1:]))


def plain(text: str) -> str:
    """The name of a class as it is compared: case and spaces do not count."""
    return "".join(text.split()).casefold()


def numbers_of(labels: Sequence[str]) -> dict[str, int]:
    """The number of each class by what people write for it, its name or that number, `plain`."""
    names = {plain(label): number for number, label in enumerate(labels)}
    return names | {str(number): number for number in range(len(labels))}


def read_predictions(path: Path, classes: int) -> list[Row]:
    """Read what `write_predictions` wrote of a model with `classes`. Raises TableError."""
    rows = []
    numbers = {str(number) for number in range(classes)}
    for line, cells in read_table(path, COLUMNS):
        row = Row(**cells)
        if row.decision not in DECISIONS:
            raise TableError(f"{path}, line {line}: {row.decision!r} is no decision")
        if row.prediction not in _allowed(row, numbers):
            raise TableError(f"{path}, line {line}: {row.prediction!r} is not a class's number")
        rows.append(row)
    return rows


def _allowed(row: Row, numbers: Collection[str]) -> Collection[str]:
    none = row.decision == "unreadable" or (row.decision == "reviewed" and row.label == NONE)
    return {""} if none else numbers


@contextmanager
def opened(path: Path) -> Iterator[csv.DictReader[str]]:
    """The rows of a CSV, and their lines. Raises TableError where it cannot be read to its end."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            yield reader
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror}") from error
    except csv.Error as error:
        # The line of the last row that is whole: an open quote takes in all lines that follow.
        raise _no_csv(path, reader.line_num, str(error)) from error
    except UnicodeDecodeError as error:
        # Of the lines that are decoded with the one at fault, none was read.
        line = reader.reader.line_num + error.object[: error.start].count(b"\n")
        raise _no_csv(path, line, error.reason) from error


def _no_csv(path: Path, sound: int, reason: str) -> TableError:
    after = f" after line {sound}" if sound else ""
    return TableError(f"{path} is no CSV in UTF-8{after} ({reason}): save it as one, with commas")


def read_table(
    path: Path,
    columns: Sequence[str],
    or_else: Mapping[str, str] | None = None,
    beside: Sequence[str] = (),
) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV with their line numbers: `columns` of each, whatever else it has.

    `or_else` names the column that is read where one of them is not there; what is `beside` them
    is read if it is there. Filenames are given as the file system has them, and must not repeat.
    Raises TableError.
    """
    # The last one that is there counts, which is the column's own name.
    asked = dict.fromkeys((*columns, *beside))
    choices = [*(or_else or {}).items(), *zip(asked, asked, strict=True)]
    rows: list[tuple[int, dict[str, str]]] = []
    seen: set[str] = set()
    with opened(path) as reader:
        there = reader.fieldnames or ()
        names = {name: own for name, own in choices if own in there}
        missing = [
            " or ".join(own for name, own in choices if name == column)
            for column in columns
            if column not in names
        ]
        if missing:
            raise TableError(
                f"{path}, line 1: there is no column {', '.join(missing)}; "
                f"the header must name {','.join(columns)}, with commas between them; "
                f"it is {','.join(there)[:80]!r}"
            )
        if twice := [names[name] for name in columns if there.count(names[name]) > 1]:
            raise TableError(f"{path}, line 1: the column {twice[0]} stands twice: leave one")
        for cells in reader:
            line = reader.line_num
            if None in cells or None in cells.values():
                raise TableError(f"{path}, line {line}: more or fewer cells than columns")
            cells["filename"] = name_of(cells["filename"])
            if cells["filename"] in seen:
                raise TableError(f"{path}, line {line}: {cells['filename']!r} stands twice")
            seen.add(cells["filename"])
            rows.append((line, {name: cells[own] for name, own in names.items()}))
    if not rows:
        raise TableError(f"{path} has no rows below its header")
    return rows
