"""Find the images of a directory, whatever their number."""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from garments.batch.errors import UsageError
from garments.store import Stamp

EXTENSIONS = (
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif",
)  # fmt: skip
_KINDS_TOLD = 5
_END_OF_TIME = 2**63 - 1
"""In nanoseconds since 1970, the most that an integer of a database holds: in the year 2262."""
_EXTENSION = re.compile(r"\.[a-z][a-z0-9]{0,4}")
# What a disk has at its root for its checks, and for what each of its users threw away.
_OF_THE_DISK = re.compile(rb"lost\+found|\.Trash-[0-9]+")
# What a file system says of an entry that it cannot tell of, though it may list and tell others.
_DAMAGED = frozenset({errno.EIO, errno.ESTALE, errno.EUCLEAN})
_ENDINGS = tuple(extension.encode() for extension in EXTENSIONS)

logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """An image file, by its name relative to the directory; bytes, as the file system has it."""

    name: bytes
    stamp: Stamp


def stamp_of(status: os.stat_result) -> Stamp:
    """What must stay the same for a file to count as unchanged."""
    modified, changed = status.st_mtime_ns, status.st_ctime_ns
    if not (-_END_OF_TIME < modified < _END_OF_TIME and -_END_OF_TIME < changed < _END_OF_TIME):
        modified, changed = _storable(modified), _storable(changed)
    return Stamp(status.st_size, modified, changed)


def _storable(nanoseconds: int) -> int:
    """The nearest moment that a database can hold: cameras and shares give files odd dates."""
    return min(max(nanoseconds, -_END_OF_TIME), _END_OF_TIME)


def any_name(_: bytes) -> bool:
    return True


def walk(
    directory: bytes,
    others: Counter[str] | None = None,
    *,
    enters: Callable[[bytes], bool] = any_name,
    takes: Callable[[bytes], bool] = any_name,
) -> Iterator[Found]:
    """All image files in `directory` and below, in any order.

    An image is a regular file with one of EXTENSIONS in any case; links are not followed. What
    else is there is counted in `others`, by its extension. `enters` tells of a folder's name
    whether to look there, `takes` of a file's whether it is meant. What has an image's name and
    cannot be told from one, since its entry is damaged, counts as one.
    Raises UsageError for a folder that cannot be listed, since photos may be in it; what only the
    disk keeps there is counted in `others` where this user may not look.
    """
    if others is None:
        others = Counter()
    folders = [b""]
    while folders:
        folder = folders.pop()
        place = os.path.join(directory, folder) if folder else directory
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    name = os.path.join(folder, entry.name)
                    has_ending = entry.name.lower().endswith(_ENDINGS)
                    if has_ending and _is_damaged(entry):
                        if takes(name):
                            yield Found(name, Stamp(0, 0, 0))  # whoever reads it is told why not
                    elif entry.is_dir(follow_symlinks=False):
                        if enters(name):
                            folders.append(name)
                    elif not takes(name):
                        continue
                    elif has_ending and not entry.is_symlink():
                        status = _status(entry)
                        if status and stat.S_ISREG(status.st_mode):
                            yield Found(name, stamp_of(status))
                    else:
                        others["link" if entry.is_symlink() else kind_of(entry.name)] += 1
        except OSError as error:
            if folder and isinstance(error, FileNotFoundError):
                continue  # taken away meanwhile, as if it had never been there
            if isinstance(error, PermissionError) and _OF_THE_DISK.fullmatch(folder):
                others[os.fsdecode(folder)] += 1
                continue
            raise UsageError(
                f"{os.fsdecode(place)!r} cannot be listed: {error.strerror}; "
                "name a directory of images that this user may read"
            ) from error


def kind_of(name: bytes) -> str:
    """How a file that is no image is counted: by its extension, if it has one."""
    extension = os.path.splitext(os.fsdecode(name))[1].lower()
    # Others are no extensions but parts of names: there may be as many as files, and they may hold
    # what breaks the lines of a log.
    return extension if _EXTENSION.fullmatch(extension) else "of other names"


def tell_left_out(others: Counter[str]) -> None:
    """Log what else is there: a photo of a kind that is not read would never be in any table."""
    if others:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in others.most_common(_KINDS_TOLD))
        more = ", …" if len(others) > _KINDS_TOLD else ""
        logger.info("other files there, which are left out: %s%s", kinds, more)


def _is_damaged(entry: os.DirEntry[bytes]) -> bool:
    try:
        entry.stat(follow_symlinks=False)
    except OSError as error:
        return error.errno in _DAMAGED
    return False


def _status(entry: os.DirEntry[bytes]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
