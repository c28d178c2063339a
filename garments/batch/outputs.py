"""Whether table, report and archive can be where they are to be, asked before the work begins."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from garments.batch.errors import UsageError
from garments.batch.morning import REPORT
from garments.batch.walk import EXTENSIONS
from garments.in_place import partial_of

_MOUNTS = Path("/proc/self/mountinfo")
_OCTAL = re.compile(rb"\\(\d{3})")


def check_output(output: Path, needed: Iterable[Path]) -> Path:
    """Where the table goes, if what a whole night's work comes to can be written there.

    Nor may table and report take the place of a file that is `needed`. Raises UsageError.
    """
    place = require_replaceable(output)
    report = require_replaceable(place.with_name(REPORT))
    for path in (output, place, report):
        if path.name.lower().endswith(EXTENSIONS):
            raise UsageError(
                f"{path} has the name of an image: choose a --output that ends in .csv"
            )
    if place == report:
        raise UsageError(f"{output} is where the report goes: choose another --output")
    for path in needed:
        if Path(os.path.realpath(path)) in (place, report):
            raise UsageError(f"{path} would be written over: choose another --output")
    return place


def require_replaceable(output: Path) -> Path:
    """Where `output` really is, behind all links.

    Raises UsageError unless there may be a new file, or another one in the place of this.
    """
    place = Path(os.path.realpath(output))
    if not os.path.isdir(place.parent):
        raise UsageError(f"{place.parent} is no folder: make it, or choose another --output")
    told = f"{output} (a link to {place})" if os.path.islink(output) else output
    if os.path.isdir(place):
        raise UsageError(f"{told} is a folder: name the table that is to be in it as --output")
    if place.name and _is_too_long(partial_of(place)):
        raise UsageError(f"{told} has too long a name: choose a shorter --output")
    if _is_mounted(place):
        raise UsageError(
            f"{told} is mounted by itself, so that no new file can take its place: mount the "
            "folder that it is in, or choose another --output"
        )
    # A link of which a link is left leads in a circle.
    replaceable = os.path.isfile(place) or not (os.path.exists(output) or place.is_symlink())
    if not (place.name and replaceable and os.access(place.parent, os.R_OK | os.W_OK | os.X_OK)):
        raise UsageError(f"{told} cannot be written: choose another --output")
    return place


def _is_mounted(place: Path) -> bool:
    """Whether something is mounted there, as far as Linux tells."""
    try:
        lines = _MOUNTS.read_bytes().split(b"\n")
    except OSError:
        return False
    points = [point for line in lines for point in line.split(b" ")[4:5]]
    # What would part lines or columns is written as a number.
    return os.fsencode(place) in (_OCTAL.sub(_byte, point) for point in points)


def _byte(octal: re.Match[bytes]) -> bytes:
    return bytes([int(octal[1], 8)])


def _is_too_long(path: Path) -> bool:
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def check_archive(directory: Path, archive: Path) -> Path:
    """The folder that the archive is, or will be in; see `outside`.

    Raises UsageError for one that the next night would walk through or empty, or that takes
    nothing.
    """
    photos, kept = Path(os.path.realpath(directory)), Path(os.path.realpath(archive))
    if _is_within(photos, kept) or _is_within(kept, photos):
        raise UsageError(f"{archive} and {directory} overlap: choose an --archive outside of it")
    if _is_too_long(kept):
        raise UsageError(f"{archive} has too long a name: choose another --archive")
    # A link of which a link is left leads in a circle, where no folder can be made.
    there = next(place for place in (kept, *kept.parents) if os.path.lexists(place))
    # What is new in a folder is safe once that is synced, for which it is opened.
    needed = os.W_OK | os.X_OK | (os.R_OK if there == kept else 0)
    if not (os.path.isdir(there) and os.access(there, needed)):
        raise UsageError(
            f"{archive} can take no photos: {there} is no folder, or this user may not list "
            "it and write there; choose another --archive"
        )
    return there


def outside(there: Path, directory: bytes) -> Callable[[bytes], bool]:
    """What says that a folder of `directory` may be entered; it raises UsageError of `there`.

    A mount may show it elsewhere too, and what is archived in it would be sorted every night.
    """

    def enters(name: bytes) -> bool:
        if _is_same(there, Path(os.fsdecode(os.path.join(directory, name)))):
            raise UsageError(
                f"{there} is {os.fsdecode(name)!r} of the directory by another path: choose an "
                "--archive outside of it"
            )
        return True

    return enters


def _is_within(place: Path, folder: Path) -> bool:
    """Whether `place` is `folder` or below it, by whatever path."""
    return any(above == folder or _is_same(above, folder) for above in (place, *place.parents))


def _is_same(one: Path, other: Path) -> bool:
    with suppress(OSError):  # of what is not there, or may not be looked at
        return one.samefile(other)
    return False
