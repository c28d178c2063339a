"""Photos of a folder and their labels: as `photos.csv` says, or from one folder a class."""

from __future__ import annotations

import csv
import logging
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from garments.dataset import LABELS, DatasetError

TABLE = "photos.csv"
NONE_OF_TEN = len(LABELS)
"""The number of the class that stands for none of the ten."""
LAYOUTS = f"give a folder with {TABLE} (file,accepted,sender), or with one folder a class"
_COLUMNS = ("file", "accepted", "sender")
_NONE_NAMES = ("none", "none of these", "other")
EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".heic", ".heif"),
)
# What storage boxes and archivers put beside photos; whatever begins with a dot is like these.
_NO_PHOTOS = ("@eaDir", "__MACOSX")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labelled:
    """A place where a photo should be, and what is said of it there."""

    path: Path
    accepted: frozenset[int]
    sender: str
    """Who took it, however the name was spelt; empty if unknown."""
    source_label: str = ""


def labelled(folder: Path) -> list[Labelled]:
    """What is said of the photos of `folder`. Raises DatasetError."""
    if (folder / TABLE).is_file():
        found = list(_by_table(folder))
        _tell_of_unlisted(folder, found)
        return found
    return list(_by_class(folder))


def _by_table(folder: Path) -> Iterator[Labelled]:
    path = folder / TABLE
    for line, row in _rows_of(path):
        name, accepted = row["file"].strip(), row["accepted"].strip()
        if not name or "\0" in name:
            raise DatasetError(f"{path}, line {line}: it names no file")
        try:
            classes = _classes_of(accepted) if accepted else frozenset({NONE_OF_TEN})
        except ValueError as error:
            raise DatasetError(f"{path}, line {line}: {error}") from error
        source_label = row.get("source_label", "").strip()
        yield Labelled(folder / name, classes, _one_spelling(row["sender"]), source_label)


def _rows_of(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table that are not blank, and the line that each ends in."""
    head: list[str] | None = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                if head is None:
                    head = _checked(path, row)
                else:
                    yield reader.line_num, _by_column(f"{path}, line {reader.line_num}", head, row)
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        # Of the lines that are decoded with the one at fault, none was read.
        line = reader.line_num + error.object[: error.start].count(b"\n") + 1
        told = f"{path}, line {line}: {error.reason}: save it as CSV in UTF-8"
        raise DatasetError(told) from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    if head is None:
        _checked(path, [])


def _checked(path: Path, cells: list[str]) -> list[str]:
    """The names of the columns, with those that must be there, each once."""
    head = [cell.strip() for cell in cells]
    if missing := set(_COLUMNS) - set(head):
        raise DatasetError(
            f"{path} lacks the column {' and '.join(sorted(missing))}; parted at its commas, the "
            f"first line is {', '.join(map(repr, head)) or 'empty'}"
        )
    for column in (*_COLUMNS, "source_label"):
        if head.count(column) > 1:
            raise DatasetError(f"{path} has the column {column} twice")
    return head


def _by_column(place: str, head: list[str], row: list[str]) -> dict[str, str]:
    if len(row) > len(head):
        raise DatasetError(
            f"{place}: it has {len(row)} cells for {len(head)} columns: put quotes around what "
            "has a comma in it, and no comma after the last cell"
        )
    # An empty cell says that the photo is none of the ten; a line cut short says nothing.
    if len(row) <= head.index("accepted"):
        raise DatasetError(
            f"{place}: it ends before the column accepted: write {_NONE_NAMES[0]} there for what "
            "is none of the ten"
        )
    # Spreadsheets leave out cells at the end of a row that are empty.
    return dict(zip(head, row + [""] * (len(head) - len(row)), strict=True))


def _tell_of_unlisted(folder: Path, listed: list[Labelled]) -> None:
    try:
        beside = {os.path.abspath(path) for path in _files_below(folder) if _is_photo(path)}
    except DatasetError as error:  # of a folder that need not be read
        log.warning("%s", error)
        return
    if unlisted := sorted(beside - {os.path.abspath(photo.path) for photo in listed}):
        log.warning(
            "%s has %d photos that %s does not list, which are left out, the first %s",
            folder,
            len(unlisted),
            TABLE,
            unlisted[0],
        )


def _by_class(folder: Path) -> Iterator[Labelled]:
    """A folder a class, named like it; where it has folders itself, each is of one sender."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder: {LAYOUTS}")
    beside = sorted(_entries(folder))
    for path in beside:
        if path.name.lower() == TABLE and path.is_file():
            raise DatasetError(f"{path} must be called {TABLE}, in small letters: rename it")
    if loose := sum(_is_photo(path) and not _is_no_photo(path.name) for path in beside):
        log.warning(
            "%s has %d photos in no folder of a class, which are left out: move each into that of "
            "its class, or list all in a %s",
            folder,
            loose,
            TABLE,
        )
    for named in beside:
        if _is_no_photo(named.name) or not named.is_dir():
            continue
        try:
            classes = _classes_of(named.name)
        except ValueError as error:
            raise DatasetError(f"{named}: {error}") from error
        for path in _files_below(named):
            inside = path.relative_to(named).parts
            if _is_photo(path):
                sender = _one_spelling(inside[0]) if len(inside) > 1 else ""
                yield Labelled(path, classes, sender)
            elif path.is_dir():
                log.warning("%s is left out: it is a link to a folder, not one itself", path)
            elif path.is_file():
                log.warning("%s is left out: training reads %s", path, " ".join(EXTENSIONS))
            else:
                log.warning("%s is left out: it is no file, or leads to none", path)


def _entries(folder: Path) -> list[Path]:
    with _readable(folder):
        return list(folder.iterdir())


def _files_below(folder: Path) -> Iterator[Path]:
    """All that is no folder, sorted; of links to folders the links."""
    for path in sorted(_entries(folder)):
        if _is_no_photo(path.name):
            continue
        with _readable(folder):
            is_folder = path.is_dir() and not path.is_symlink()
        if is_folder:
            yield from _files_below(path)
        else:
            yield path


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror}") from error


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and path.is_file()


def _is_no_photo(part: str) -> bool:
    return part.startswith(".") or part in _NO_PHOTOS


def _one_spelling(sender: str) -> str:
    """The name of a contributor, the same for all spellings: a person may be in one fold alone."""
    return unicodedata.normalize("NFC", sender.strip().casefold())


def _classes_of(names: str) -> frozenset[int]:
    """The classes of a list joined by semicolons."""
    classes = frozenset(map(_class_of, names.split(";")))
    if NONE_OF_TEN in classes and len(classes) > 1:
        raise ValueError(f"{names!r} is at once a class and none of them")
    return classes


def _class_of(name: str) -> int:
    """The number of a class from its number or name, as a folder may spell it."""
    numbers = {str(number): number for number in range(len(LABELS))}
    names = {_plain(label): number for number, label in enumerate(LABELS)}
    names |= {_plain(none): NONE_OF_TEN for none in _NONE_NAMES}
    # Every sign of a number counts: -1, as other data sets call what is of no class, is no 1.
    found = numbers.get(name.strip(), names.get(_plain(name)))
    if found is None:
        known = ", ".join([*LABELS, _NONE_NAMES[0]])
        raise ValueError(f"{name!r} is no class; the classes are {known}")
    return found


def _plain(name: str) -> str:
    """Letters and digits alone: a folder cannot be called T-shirt/top."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
