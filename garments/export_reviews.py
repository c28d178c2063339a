"""Write the photos that people answered for into a folder that `train_model.py --photos` reads.

Run as `python -m garments.export_reviews FOLDER`; docs/night.md tells more.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import os
import re
import stat
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from garments import terminal
from garments.cells import as_cell, cell_of
from garments.dataset import LABELS
from garments.in_place import put_in_place, replacing
from garments.predictions import NONE
from garments.settings import Settings, SettingsError
from garments.store import StoreError
from garments.store.archived import marked
from garments.store.desk import Desk
from garments.store.reviews import Review

TABLE = "reviews.csv"
COLUMNS = ("file", "answer", "source", "who", "at", "model", "said", "confidence", "name")
_NONE_FOLDER = "none"
_OWN = re.compile(r"[0-9a-f]{64}\.[a-z]{3,4}")  # how an export names files


class ExportError(Exception):
    """Nothing can be exported; the text says why, and what to do."""


@dataclass
class Exported:
    """How many files there are now, by where their pictures are from."""

    photos: int = 0
    thumbnails: int = 0
    missing: int = 0
    """Reviews without a picture: the photo is gone, and had no thumbnail."""
    dropped: int = 0
    """Files of an export before whose answer was taken back, or is another now."""
    kept: int = 0
    """Other files of before: of answers that this database never had, or without a new picture."""

    def __str__(self) -> str:
        parts = [f"{self.photos:,} photos", f"{self.thumbnails:,} thumbnails"]
        parts += [f"{self.missing:,} without a picture"] if self.missing else []
        parts += [f"{self.dropped:,} of before dropped"] if self.dropped else []
        parts += [f"{self.kept:,} of before kept"] if self.kept else []
        return ", ".join(parts)


def export(desk: Desk, folder: Path, archives: Sequence[Path], most_bytes: int) -> Exported:
    """Have a file for every standing review in `folder`, in a folder a class, and `reviews.csv`.

    Each is the photo itself where it still has the content that was answered for, in the night's
    directory, in one of `archives`, or in `folder` since an export before; else its thumbnail.
    Files that are there already are not written again, and every one appears whole or not at all.
    One of an export before goes only where its answer was taken back or is another now: no other
    copy of the photo may be left, and the answer may be of another database.
    Raises ExportError, OSError and StoreError.
    """
    reviews = [*desk.reviews.standing()]
    # Archives are among the places of reviews alone, new folders among those of nights alone.
    _require_outside(folder, {*desk.nights.directories(), *(each.directory for each in reviews)})
    folder.mkdir(parents=True, exist_ok=True)
    table = (folder / TABLE).read_bytes() if (folder / TABLE).is_file() else b""
    before, known, rows_before = _files_of_before(folder), _told_of_by(table), _rows_of(table)
    # Others may name their files by what they hold, too.
    files = {path for paths in before.values() for path in paths}
    ours = {path for path in files if path.name in known or path.stem in known}
    # Whatever ends this export: the next one drops only what the table says to be an export's own.
    coming = {_stem_of(each.answer, each.digest) for each in reviews}
    names = sorted(coming | {str(path.relative_to(folder)) for path in ours})
    _write_table(folder, [rows_before.get(name, (name,)) for name in names])
    taken_back = {_stem_of(answer, digest) for digest, answer in desk.reviews.undone()} - coming
    told, rows = Exported(), list[tuple[str, ...]]()
    for review in reviews:
        places = [*_places_of(review, archives), *before.get(review.digest.hex(), ())]
        found = _photo(review, places, most_bytes)
        source = "photo" if found else "thumbnail"
        content, extension = found or _thumbnail(desk, review.digest)
        if content is None:
            told.missing += 1
            continue
        name = _stem_of(review.answer, review.digest) + extension
        rows.append(_row(name, source, review))
        _keep(folder / name, content)
        told.photos += source == "photo"
        told.thumbnails += source == "thumbnail"
    written = {folder / row[0] for row in rows}
    answered = {path.stem for path in written}
    for path in sorted(ours - written):
        name = str(path.relative_to(folder))
        if path.stem in answered or name.removesuffix(path.suffix) in taken_back:
            path.unlink(missing_ok=True)
            told.dropped += 1
        else:
            rows.append(rows_before.get(name, (name,)))
            told.kept += 1
    _write_table(folder, rows)
    return told


def _write_table(folder: Path, rows: Iterable[tuple[str, ...]]) -> None:
    with replacing(folder / TABLE) as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def _require_outside(folder: Path, directories: Iterable[bytes | None]) -> None:
    """Raise ExportError where the export would be among the photos of nights."""
    place = Path(os.path.realpath(folder))
    for directory in directories:
        photos = Path(os.fsdecode(os.path.realpath(directory))) if directory else None
        if photos and (photos == place or photos in place.parents):
            where = f"{photos}, where photos of nights are"
            raise ExportError(f"{folder} is in {where}: name a folder outside")


def _row(name: str, source: str, review: Review) -> tuple[str, ...]:
    return (
        name,
        _label_of(review.answer),
        source,
        as_cell(review.who, first=False),
        review.at.isoformat(timespec="seconds"),
        review.model,
        _label_of(review.prediction),
        f"{review.confidence:.4f}",
        cell_of(os.fsdecode(review.name or b""), first=False),
    )


def _label_of(number: int | None) -> str:
    return NONE if number is None else LABELS[number]


def _folder_of(answer: int | None) -> str:
    """A name that training understands, and every file system: `T-shirt_top`."""
    return _NONE_FOLDER if answer is None else LABELS[answer].replace("/", "_")


def _stem_of(answer: int | None, digest: bytes) -> str:
    """The name of a file within the export, without its extension."""
    return f"{_folder_of(answer)}/{digest.hex()}"


def _places_of(review: Review, archives: Iterable[Path]) -> list[Path]:
    """Where the photo may be, by the name that it had when it was answered for."""
    if review.directory is None or review.name is None:
        return []
    # As the archive names what would clash.
    names = [os.fsdecode(each) for each in (review.name, marked(review.name, review.digest))]
    in_archives = [folder / each for folder in archives for each in names]
    return [Path(os.fsdecode(review.directory)) / names[0], *in_archives]


def _photo(review: Review, places: Iterable[Path], most: int) -> tuple[bytes, str] | None:
    """The photo as it was answered for, and its extension; None where it is nowhere any more."""
    for place in places:
        content = _content(place, most)
        if content and hashlib.sha256(content).digest() == review.digest:
            return content, f".{place.name.rpartition('.')[2]}".lower()  # also of a file `.jpg`
    return None


def _content(path: Path, most: int) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        # Asked before it is opened as a file, which a folder of that name cannot be.
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _thumbnail(desk: Desk, digest: bytes) -> tuple[bytes | None, str]:
    content = desk.queue.thumbnail(digest)
    return content, ".png" if content and content.startswith(b"\x89PNG") else ".jpg"


def _keep(path: Path, content: bytes) -> None:
    with suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
    if path.is_symlink():  # what it leads to is somebody's own, and stays
        path.unlink()
    path.parent.mkdir(exist_ok=True)
    with put_in_place(path) as partial:  # of a name that training takes for no photo
        partial.write_bytes(content)


def _files_of_before(folder: Path) -> dict[str, list[Path]]:
    """The files that exports before have left, by the digest in their names.

    Files of other people that have such names are among them.
    """
    found = defaultdict(list)
    for answer in (*range(len(LABELS)), None):
        for path in (folder / _folder_of(answer)).glob("*"):
            if _OWN.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                found[path.stem].append(path)
    return found


def _told_of_by(table: bytes) -> set[str]:
    """The names in the table of an export before, in whatever form people saved it again.

    One that was interrupted knew no extensions yet.
    """
    text = table.replace(b"\0", b"")  # which UTF-16 has beside each letter
    return {name.decode() for name in re.findall(rb"[0-9a-f]{64}(?:\.[a-z]{3,4})?", text)}


def _rows_of(table: bytes) -> dict[str, tuple[str, ...]]:
    """The rows of that table by file, as far as it can be read as one."""
    try:
        utf_16 = table.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
        text = table.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = table.decode("cp1252", errors="replace")
    separator = re.search(r"[,;\t]", text)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator[0] if separator else ",")
    found = {}
    with suppress(csv.Error):
        for row in rows:
            found[row[0] if row else ""] = tuple(row)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Export, and say what; 1 where all is done but cannot be said.

    2 where it cannot be done, and 130 where it was interrupted.
    """
    parser = argparse.ArgumentParser(prog="garments.export_reviews", description=__doc__)
    parser.add_argument(
        "folder", type=terminal.path, help="where the photos go, in a folder a class"
    )
    parser.add_argument(
        "--archive",
        type=terminal.path,
        action="append",
        default=[],
        help="where nights moved photos to",
    )
    given = parser.parse_args(arguments)
    try:
        settings = Settings.from_environment()
        desk = Desk(settings.database_url)
        if not desk.database.exists():
            raise ExportError(f"there is no database {desk.database}: see GARMENTS_DATABASE_URL")
        desk.open()
        told = export(desk, given.folder, given.archive, settings.max_request_bytes)
    except (ExportError, SettingsError, StoreError, OSError) as error:
        print(f"nothing more was exported: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on", file=sys.stderr)
        return 130
    lines = [f"{given.folder}: {told}"]
    if told.thumbnails:
        lines += [
            "photos that are not where they were are small: name where they are with --archive"
        ]
    try:
        terminal.tell("\n".join(lines))
    except OSError as error:
        print(f"all is exported; {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
