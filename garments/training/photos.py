"""Labelled photos: a folder with `photos.csv`, or one folder a class."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from garments.dataset import LABELS, DatasetError

TABLE = "photos.csv"
NONE = len(LABELS)
"""The number of the class that stands for none of the ten."""
_NONE_NAMES = ("none", "none of these", "other")
_EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".heic", ".heif"),
)
# What storage boxes and archivers put beside photos; whatever begins with a dot is like these.
_NO_PHOTOS = ("@eaDir", "__MACOSX")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photo:
    """A file and what a careful person would call what it shows."""

    path: Path
    accepted: frozenset[int]
    """The classes that are right; NONE alone where it is none of the ten."""
    sender: str
    """Who took it; where that is not known, its own digest."""
    digest: str
    """SHA-256 of the file."""
    source_label: str = ""
    """What whoever labelled it calls the item; empty if unknown."""
    came_as: frozenset[int] | None = None
    """The classes that were right by its first label, where a later one says otherwise."""

    @property
    def is_by_nobody_known(self) -> bool:
        """Whether it counts as by somebody of whom there is no other photo."""
        return self.sender == self.digest


def read_photos(folders: Sequence[Path]) -> list[Photo]:
    """The photos of all `folders`, sorted by digest; a file that comes again has its last label.

    So a folder of corrections goes after the folder that it corrects. A table with none of its
    files beside it is of labels alone, for the files at the same places in the folders before; so
    is a file named by the SHA-256 of one in these, as the small copy that a review leaves.
    Raises DatasetError.
    """
    found: dict[str, Photo] = {}
    digests: dict[Path, set[str]] = {}
    for folder in folders:
        rows = list(_by_table(folder) if (folder / TABLE).is_file() else _by_class(folder))
        labels_alone = not any(path.exists() for path, *_ in rows)
        before, here = len(found), dict[str, Photo]()
        for path, accepted, sender, source_label in rows:
            place = path.relative_to(folder) if path.is_relative_to(folder) else path
            at_place = digests.setdefault(place, set())
            if labels_alone and len(at_place) != 1:
                raise DatasetError(
                    f"{path} cannot be read: it does not exist, and labels alone need one photo "
                    f"at {place} in the folders before, which have {len(at_place)}"
                )
            digest = next(iter(at_place)) if labels_alone else _digest(path)
            if digest not in found and path.stem in found:
                digest = path.stem
            known = found.get(digest)
            if known and (labels_alone or digest == path.stem):
                path = known.path
            at_place.add(digest)
            # A correction may not know who took the photo; training needs to.
            kept = sender or (known.sender if known else digest)
            first = (known.came_as or known.accepted) if known else accepted
            came_as = None if first == accepted else first
            photo = Photo(path, accepted, kept, digest, source_label, came_as)
            if here.setdefault(digest, photo).accepted != accepted:
                raise DatasetError(
                    f"{path} and {here[digest].path} are one photo with two labels: keep one"
                )
            found[digest] = photo
        if len(found) == before == 0:
            raise DatasetError(f"{folder} holds no photo: {_layouts()}")
        if not rows:
            log.warning("%s holds no photo and changes nothing", folder)
    return [found[digest] for digest in sorted(found)]


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


def digest_of(photos: Sequence[Photo]) -> str:
    """SHA-256 over what is trained on: the files, their labels and who took them."""
    lines = (f"{p.digest} {sorted(p.accepted)} {p.source_label} {p.sender}\n" for p in photos)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def targets_of(photos: Sequence[Photo]) -> npt.NDArray[np.float32]:
    """Which classes are right for each photo, NONE among them: ones and zeros (n, classes + 1)."""
    targets = np.zeros((len(photos), NONE + 1), np.float32)
    for row, photo in enumerate(photos):
        targets[row, list(photo.accepted)] = 1
    return targets


def as_they_came(photos: Sequence[Photo]) -> list[Photo]:
    """The photos with the first label that each had, where another has taken its place."""
    return [replace(photo, accepted=photo.came_as or photo.accepted) for photo in photos]


def _by_table(folder: Path) -> Iterator[tuple[Path, frozenset[int], str, str]]:
    path = folder / TABLE
    for line, row in _rows_of(path):
        name, accepted = row["file"].strip(), row["accepted"].strip()
        if not name or "\0" in name:
            raise DatasetError(f"{path}, line {line}: it names no file")
        try:
            classes = _classes_of(accepted) if accepted else frozenset({NONE})
        except ValueError as error:
            raise DatasetError(f"{path}, line {line}: {error}") from error
        source_label = row.get("source_label", "")
        yield folder / name, classes, row["sender"].strip(), source_label.strip()


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
                elif len(row) <= len(head):
                    # Spreadsheets leave out cells at the end of a row that are empty.
                    row += [""] * (len(head) - len(row))
                    yield reader.line_num, dict(zip(head, row, strict=True))
                else:
                    raise DatasetError(
                        f"{path}, line {reader.line_num}: it has {len(row)} cells for {len(head)} "
                        "columns: put quotes around what has a comma in it, and no "
                        "comma after the last cell"
                    )
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    if head is None:
        _checked(path, [])


def _checked(path: Path, cells: list[str]) -> list[str]:
    """The names of the columns, with those that must be there, each once."""
    head = [cell.strip() for cell in cells]
    if missing := {"file", "accepted", "sender"} - set(head):
        raise DatasetError(
            f"{path} lacks the column {' and '.join(sorted(missing))}; parted at its commas, the "
            f"first line is {', '.join(map(repr, head)) or 'empty'}"
        )
    for column in ("file", "accepted", "sender", "source_label"):
        if head.count(column) > 1:
            raise DatasetError(f"{path} has the column {column} twice")
    return head


def _by_class(folder: Path) -> Iterator[tuple[Path, frozenset[int], str, str]]:
    """A folder a class, named like it; where it has folders itself, each is of one sender."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder: {_layouts()}")
    if loose := sum(map(_is_photo, folder.iterdir())):
        log.warning(
            "%s has %d photos in no folder of a class, which are left out: move each into that of "
            "its class, or list all in a %s",
            *(folder, loose, TABLE),
        )
    for named in sorted(path for path in folder.iterdir() if path.is_dir()):
        if _is_no_photo(named.name):
            continue
        try:
            classes = _classes_of(named.name)
        except ValueError as error:
            raise DatasetError(f"{named}: {error}") from error
        for path in sorted(named.rglob("*")):
            inside = path.relative_to(named).parts
            if any(map(_is_no_photo, inside)):
                continue
            if path.is_symlink() and path.is_dir():
                log.warning("%s is left out: it is a link to a folder, not one itself", path)
            elif path.is_file() and path.suffix.lower() in _EXTENSIONS:
                yield path, classes, inside[0] if len(inside) > 1 else "", ""
            elif path.is_file():
                log.warning("%s is left out: training reads %s", path, " ".join(_EXTENSIONS))


def _is_photo(path: Path) -> bool:
    named_like_one = path.suffix.lower() in _EXTENSIONS and not _is_no_photo(path.name)
    return named_like_one and path.is_file()


def _is_no_photo(part: str) -> bool:
    return part.startswith(".") or part in _NO_PHOTOS


def _classes_of(names: str) -> frozenset[int]:
    """The classes of a list joined by semicolons."""
    classes = frozenset(map(_class_of, names.split(";")))
    if NONE in classes and len(classes) > 1:
        raise ValueError(f"{names!r} is at once a class and none of them")
    return classes


def _class_of(name: str) -> int:
    """The number of a class from its number or name, as a folder may spell it."""
    numbers = {str(number): number for number in range(len(LABELS))}
    names = {_plain(label): number for number, label in enumerate(LABELS)}
    names |= {_plain(none): NONE for none in _NONE_NAMES}
    # Of a number every sign counts: -1, as other data sets call what is of no class, is no 1.
    found = numbers.get(name.strip(), names.get(_plain(name)))
    if found is None:
        known = ", ".join([*LABELS, _NONE_NAMES[0]])
        raise ValueError(f"{name!r} is no class; the classes are {known}")
    return found


def _plain(name: str) -> str:
    """Letters and digits alone: a folder cannot be called T-shirt/top."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _layouts() -> str:
    return f"give a folder with {TABLE} (file,accepted,sender), or with one folder a class"
