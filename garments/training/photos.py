"""Labelled photos of several folders, each photo once."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from garments.dataset import DatasetError
from garments.training.labelled import LAYOUTS, NONE_OF_TEN, TABLE, Labelled, labelled

_DIGEST = re.compile("[0-9a-f]{64}")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photo:
    """A file and what a careful person would call what it shows."""

    path: Path
    accepted: frozenset[int]
    """The classes that are right; NONE_OF_TEN alone where it is none of the ten."""
    sender: str
    """Who took it; where that is not known, its own digest."""
    digest: str
    """SHA-256 of the photo; a small copy is named by that of the photo that it stands for."""
    source_label: str = ""
    """What whoever labelled it calls the item; empty if unknown."""
    came_as: frozenset[int] | None = None
    """The classes that were right by its first label, where a later one says otherwise."""
    content: str = ""
    """SHA-256 of the file at `path`, where that is not `digest`."""

    @property
    def is_by_nobody_known(self) -> bool:
        """Whether it counts as by somebody of whom there is no other photo."""
        return self.sender == self.digest


def read_photos(folders: Sequence[Path]) -> list[Photo]:
    """The photos of all `folders`, sorted by digest; a file that comes again has its last label.

    So a folder of corrections goes after the folder that it corrects. A table with none of its
    files beside it is of labels alone, for the files at the same places in the folders before. A
    file named by the SHA-256 of another, as the small copy that a review leaves, stands for that.
    Raises DatasetError.
    """
    found: dict[str, Photo] = {}
    shown_by: dict[str, str] = {}  # the photo that each content shows
    digests: dict[Path, set[str]] = {}
    for folder in folders:
        rows = labelled(folder)
        labels_alone = not any(row.path.exists() for row in rows)
        before, here = len(found), dict[str, tuple[Photo, Path]]()
        for row in rows:
            place = row.path.relative_to(folder) if row.path.is_relative_to(folder) else row.path
            at_place = digests.setdefault(place, set())
            if labels_alone:
                digest = _only(at_place, row.path, place)
                photo = _relabelled(found[digest], row)
            else:
                content = _digest(row.path)
                named = _named_by(row.path)
                shown = shown_by.setdefault(content, named or content)
                # Small copies of two photos may be the same file.
                digest = named if named in found else shown
                photo = _photo(row, digest, content, found.get(digest))
            at_place.add(digest)
            found[digest] = photo
            _hold_together(*here.setdefault(digest, (photo, row.path)), photo, row.path)
        if len(found) == before == 0:
            raise DatasetError(f"{folder} holds no photo: {LAYOUTS}")
        if not rows:
            log.warning("%s holds no photo and changes nothing", folder)
    return [found[digest] for digest in sorted(found)]


def _only(at_place: set[str], path: Path, place: Path) -> str:
    """The digest of the one photo that labels alone can be meant for."""
    if len(at_place) != 1:
        raise DatasetError(
            f"{path} cannot be read: it does not exist, and labels alone need one photo "
            f"at {place} in the folders before, which have {len(at_place)}"
        )
    return next(iter(at_place))


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


def _named_by(path: Path) -> str:
    """The digest that a small copy has for its name."""
    return path.stem if _DIGEST.fullmatch(path.stem) else ""


def _photo(row: Labelled, digest: str, content: str, known: Photo | None) -> Photo:
    """The photo in a file, which may be `known` by another."""
    if known is None:
        photo = Photo(row.path, row.accepted, row.sender or digest, digest, row.source_label)
        return photo if content == digest else replace(photo, content=content)
    again = _relabelled(known, row)
    # A small copy may be worse than the file that was there before.
    return replace(again, path=row.path, content="") if content == digest else again


def _relabelled(known: Photo, row: Labelled) -> Photo:
    first = known.came_as or known.accepted
    return replace(
        known,
        accepted=row.accepted,
        # A correction may not know who took the photo; training needs to.
        sender=row.sender or known.sender,
        source_label=row.source_label,
        came_as=None if first == row.accepted else first,
    )


def _hold_together(first: Photo, at: Path, again: Photo, path: Path) -> None:
    """Refuse two labels in one folder for one photo, and tell of two contributors."""
    one = f"{path} and {at} are one photo" if path != at else f"{TABLE} lists {path} twice,"
    if again.accepted != first.accepted:
        raise DatasetError(f"{one} with two labels: keep one")
    if again.sender != first.sender and not first.is_by_nobody_known:
        log.warning("%s by two contributors: it counts as by %s", one, again.sender)


def digest_of(photos: Sequence[Photo]) -> str:
    """SHA-256 over what is trained on: the files, their labels and who took them."""
    lines = (
        f"{p.content or p.digest} {sorted(p.accepted)} {p.source_label} {p.sender}\n"
        for p in photos
    )
    # A contributor may be a folder whose name is not in UTF-8.
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def targets_of(photos: Sequence[Photo]) -> npt.NDArray[np.float32]:
    """Which classes are right for each photo, none of the ten the last: ones and zeros (n, 11)."""
    targets = np.zeros((len(photos), NONE_OF_TEN + 1), np.float32)
    for row, photo in enumerate(photos):
        targets[row, list(photo.accepted)] = 1
    return targets


def as_they_came(photos: Sequence[Photo]) -> list[Photo]:
    """The photos with the first label that each had, where another has taken its place."""
    return [replace(photo, accepted=photo.came_as or photo.accepted) for photo in photos]
