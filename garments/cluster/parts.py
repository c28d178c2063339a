"""A listing cut into parts, and the rows of each, which are written whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from garments.batch.walk import Found
from garments.cells import cell_of, name_of
from garments.cluster.places import file_system, put_object
from garments.in_place import InPlace, put_in_place
from garments.predictions import Row

SIZE = 512
"""Photos of a part, about."""
_ENDING, _AGAIN = ".csv", ".again.csv"


class Part(NamedTuple):
    """Some photos that follow each other in a listing, and what tells whether they are the same."""

    name: str
    """A digest of the photos' names, sizes and times, and of all that decides about their rows."""
    photos: list[Found]


def cut(listing: Iterable[Found], made_by: str) -> Iterator[Part]:
    """Cut a sorted listing; `made_by` names all that decides about the rows beside the photos.

    Where a part ends is decided by the name of its last photo, so a photo that comes or goes
    changes the part that it is in, and no other; but where a part is as long as one may be, those
    after it too, up to the next such end.
    """
    photos: list[Found] = []
    for found in listing:
        photos.append(found)
        if zlib.crc32(found.name) % SIZE == 0 or len(photos) == 4 * SIZE:
            yield _part(photos, made_by)
            photos = []
    if photos:
        yield _part(photos, made_by)


def _part(photos: list[Found], made_by: str) -> Part:
    told = json.dumps([made_by, [[os.fsdecode(name), *stamp] for name, stamp in photos]])
    return Part(hashlib.sha256(told.encode()).hexdigest()[:40], photos)


def as_text(rows: Iterable[Row]) -> bytes:
    """Rows as they stand in a part."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerows((cell_of(row.filename), *row[1:]) for row in rows)
    return text.getvalue().encode()


class Parts:
    """The parts of one output, in a folder of a file system or below a prefix of an object store.

    What cannot be kept for another job, since it may go better then, is marked so.
    """

    def __init__(self, url: str) -> None:
        """Use the folder of that path or `s3://` URL, and make it if need be. Raises OSError."""
        self._remote = url.startswith("s3://")
        if self._remote:
            self._store, self._root = file_system(url)
        else:
            self._store, self._root = None, url
            os.makedirs(url, exist_ok=True)
        # Each part has rows; what is empty is an upload that ended before its first byte.
        self._names = {
            name for name, size in self._listed().items() if size and name.endswith(_ENDING)
        }

    def __contains__(self, part: object) -> bool:
        return f"{part}{_ENDING}" in self._names or f"{part}{_AGAIN}" in self._names

    def write(self, part: str, text: bytes, *, again: bool) -> None:
        """Keep the rows of a part; `again` marks those that another job has to make anew.

        Raises OSError.
        """
        name = f"{part}{_AGAIN if again else _ENDING}"
        path = f"{self._root}/{name}"
        if self._remote:
            put_object(self._store, path, text)
        else:
            try:
                with put_in_place(Path(path)) as partial:
                    partial.write_bytes(text)
            except InPlace:  # as it matters to a table, and not to a part
                raise KeyboardInterrupt from None
        self._names.add(name)

    def rows(self, part: str) -> Iterator[Row]:
        """The rows of a part. Raises OSError and ValueError for one that cannot be read."""
        text = self._read(f"{self._root}/{self._file(part)}").decode()
        if text and not text.endswith("\n"):
            raise ValueError("its last row is cut short")
        try:
            for name, *others in csv.reader(io.StringIO(text, newline=""), strict=True):
                if len(others) != len(Row._fields) - 1:
                    raise ValueError(f"the row of {name!r} is no whole one")
                yield Row(name_of(name), *others)
        except csv.Error as error:
            raise ValueError(str(error)) from error

    def place_of(self, part: str) -> str:
        """The file or object that has the rows of a part."""
        return f"{'s3://' if self._remote else ''}{self._root}/{self._file(part)}"

    def forget(self, part: str) -> None:
        """Remove the rows of a part. Raises OSError."""
        self._remove(self._file(part))

    def forget_unfinished(self) -> None:
        """Remove what an earlier job marked to be made anew, or was writing when it died.

        Raises OSError.
        """
        for name, size in self._listed().items():
            if name.endswith((_AGAIN, ".part")) or (name.endswith(_ENDING) and not size):
                self._remove(name)

    def keep(self, parts: set[str]) -> None:
        """Remove all others: photos have gone, or another model has answered. Raises OSError.

        Not where all have gone: the disk that they are on may be.
        """
        for name in [*self._names] if parts else ():
            if name.removesuffix(_AGAIN).removesuffix(_ENDING) not in parts:
                self._remove(name)

    def _file(self, part: str) -> str:
        return f"{part}{_ENDING if f'{part}{_ENDING}' in self._names else _AGAIN}"

    def _listed(self) -> dict[str, int]:
        """The files or objects there, and how many bytes each has."""
        if not self._remote:
            with os.scandir(self._root) as files:
                return {file.name: file.stat().st_size for file in files}
        from pyarrow import fs

        selector = fs.FileSelector(self._root, allow_not_found=True)
        entries = self._store.get_file_info(selector)
        return {str(entry.base_name): int(entry.size or 0) for entry in entries}

    def _read(self, path: str) -> bytes:
        if not self._remote:
            return Path(path).read_bytes()
        with self._store.open_input_stream(path) as stream:
            return bytes(stream.readall())

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            path = f"{self._root}/{name}"
            if self._remote:
                self._store.delete_file(path)
            else:
                os.unlink(path)
        self._names.discard(name)


def packed(part: Part) -> dict[str, Any]:
    """A part as it travels to another machine."""
    photos = [[os.fsdecode(name), *stamp] for name, stamp in part.photos]
    return {"part": part.name, "photos": json.dumps(photos).encode()}
