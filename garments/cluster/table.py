"""The parts of a job as one table, once it is sure that each photo has its row, and one only."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from garments.batch.errors import ReconcileError, UsageError
from garments.batch.writing import write_table
from garments.cells import cell_of
from garments.cluster.parts import Part, Parts
from garments.cluster.places import file_system, path_of, put_object
from garments.in_place import put_in_place
from garments.predictions import COLUMNS, DECISIONS, Row, write_predictions

_ROWS_AT_ONCE = 50_000


class Damaged(Exception):
    """A part is not what was written; the text names its file, and says how."""

    def __init__(self, part: str, text: str) -> None:
        super().__init__(text)
        self.part = part


class Table:
    """The rows of a job in order, and how they were decided once all of them have been taken."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.decisions: Counter[str] = Counter()
        self.names: set[str] = set()
        """Of the parts that were taken."""

    def rows(self, listing: Iterable[Part]) -> Iterator[Row]:
        """A row for every photo of `listing`.

        Raises Damaged, and ReconcileError for a part that is there and cannot be read.
        """
        for part in listing:
            for row in self._whole(part):
                self.decisions[row.decision] += 1
                yield row
            self.names.add(part.name)

    def _whole(self, part: Part) -> list[Row]:
        file = self._parts.place_of(part.name)
        try:
            rows = [*self._parts.rows(part.name)] if part.name in self._parts else []
        except (FileNotFoundError, ValueError) as error:
            raise Damaged(part.name, f"{file} is damaged: {error}") from error
        except OSError as error:
            told = f"{file} cannot be read: {error.strerror or error}"
            raise ReconcileError(
                f"{told}; remove it if it stays so, and run the job again"
            ) from error
        if [row.filename for row in rows] != [os.fsdecode(found.name) for found in part.photos]:
            told = f"{file} has {len(rows):,} rows for {len(part.photos):,} photos, or for others"
            raise Damaged(part.name, told)
        for row in rows:
            if row.decision not in DECISIONS or (row.decision == "unreadable") != bool(row.error):
                raise Damaged(part.name, f"{file} has no answer for {row.filename!r}")
        return rows


def write(rows: Iterable[Row], output: str) -> None:
    """Write a `.csv` or `.parquet` file or object, which appears whole or stays as it was.

    Whatever `rows` raises passes through. Raises UsageError where the output cannot be written, and
    of a file what `write_table` raises. What interrupts the upload of an object is told when it is
    written.
    """
    form = write_parquet if path_of(output).endswith(".parquet") else write_predictions
    if not output.startswith("s3://"):
        write_table(rows, Path(output), form)
        return
    try:
        _upload(form, rows, output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror or error}") from error


def write_parquet(rows: Iterable[Row], path: Path) -> None:
    """Write what `write_predictions` writes as Parquet: numbers as such, null for what is empty."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {"prediction": pa.int32(), "confidence": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    rows = iter(rows)
    with put_in_place(path) as partial, parquet.ParquetWriter(partial, schema) as writer:
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist([*map(_typed, some)], schema))


def _typed(row: Row) -> dict[str, Any]:
    cells: dict[str, Any] = {name: cell or None for name, cell in row._asdict().items()}
    cells["filename"] = cell_of(row.filename)
    for name, kind in (("prediction", int), ("confidence", float)):
        cells[name] = None if cells[name] is None else kind(cells[name])
    return cells


def _upload(form: Callable[[Iterable[Row], Path], None], rows: Iterable[Row], url: str) -> None:
    store, path = file_system(url)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "table"
        form(rows, made)
        try:
            # Mapped, since a read that fails must not end the upload with what has been read.
            with made.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                put_object(store, path, content)
        except KeyboardInterrupt:
            told = f"interrupted while {url} was written: it is whole, the new one or the old"
            raise KeyboardInterrupt(told) from None
