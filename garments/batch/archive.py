"""Move photos out of the directory once the table that names them is safe."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from itertools import islice

from garments.batch.walk import stamp_of
from garments.in_place import sync
from garments.store import Photo
from garments.store.archived import marked

Identity = tuple[int, int, int]
Moving = Callable[[Mapping[bytes, bytes]], None]

_PROBE = b".same.part"
_AT_ONCE = 500  # files whose new names are put on the disk together
# What file systems say that cannot link there: another one, or one that has no links.
_NO_LINK = frozenset(
    {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}
)

logger = logging.getLogger(__name__)


class _Changed(Exception):
    """The file is not the one that was classified."""


def archive(
    directory: bytes, to: bytes, photos: Iterable[Photo], moving: Moving
) -> tuple[int, int]:
    """Move `photos` from `directory` to the same names in `to`; how many went, how many did not.

    Nothing is overwritten: where the name is taken by another content, a part of the digest is
    put into it. A photo is removed when its copy is on the disk, and `moving` was given its new
    name by the old one. What is cut short is finished when it is called again; what changed
    since it was classified stays.
    """
    moved = stuck = 0
    there = os.path.dirname(to)  # what is below it is new
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    waiting, are_one = iter(photos), cache(_are_one)
    while some := list(islice(waiting, _AT_ONCE)):
        kept: list[tuple[bytes, Identity, bytes]] = []
        folders: set[bytes] = set()
        renamed: dict[bytes, bytes] = {}
        for photo in some:
            source = os.path.join(directory, photo.name)
            if not os.path.lexists(source):
                continue  # moved by a night that was cut short, or by whoever took it away
            try:
                identity = _identity(source)
                target = _keep(source, to, photo, are_one)
                folders.update(_up_to(to, os.path.dirname(target)))
                renamed[photo.name] = os.path.relpath(target, to)
                kept.append((source, identity, target))
            except _Changed:
                logger.info("%r has changed meanwhile and stays", os.fsdecode(photo.name))
            except OSError as error:
                stuck += 1
                logger.warning("%r stays: %s", os.fsdecode(photo.name), error.strerror)
        for folder in folders:
            sync(folder)
        for folder in _up_to(there, os.path.dirname(to)) if kept else ():
            with suppress(PermissionError):  # where it may not be listed, whoever made it saw to it
                sync(folder)
        moving(renamed)
        for source, identity, target in kept:
            try:
                if not os.path.lexists(target):  # it was a photo itself, as links can lead back
                    raise FileNotFoundError(errno.ENOENT, "its copy is gone from the archive")
                # A new photo may have come under that name.
                if _identity(source) == identity:
                    os.unlink(source)
                    moved += 1
            except OSError as error:
                stuck += 1
                logger.warning("%r stays: %s", os.fsdecode(source), error.strerror)
    return moved, stuck


def is_moved(directory: bytes, to: bytes, photo: Photo, *, by_content: bool = False) -> bool:
    """Whether a photo is in the archive, and not in `directory`, where another may have its name.

    It is one of its size and time there that is taken for it. Here any file of its name is, unless
    asked `by_content` or where another has that name there: the archive may have an older one.
    """
    names = (photo.name, marked(photo.name, photo.digest or b""))
    kept = [path for name in names if os.path.lexists(path := os.path.join(to, name))]
    try:
        same = stamp_of(os.lstat(os.path.join(directory, photo.name)))[:2] == photo.stamp[:2]
    except FileNotFoundError:
        if not by_content:
            return bool(kept)
        same = False
    return not same and any(_digest(path) == photo.digest for path in kept)


def is_same(directory: bytes, photo: Photo) -> bool:
    """Whether what has a photo's name in `directory` can be read, and has its content."""
    try:
        return _digest(os.path.join(directory, photo.name)) == photo.digest
    except OSError:
        return False


def _up_to(root: bytes, folder: bytes) -> Iterator[bytes]:
    """`folder`, and what it is in, up to `root`: any of them may be new."""
    while folder != root:
        yield folder
        folder = os.path.dirname(folder)
    yield root


def _keep(source: bytes, to: bytes, photo: Photo, are_one: Callable[[bytes, bytes], bool]) -> bytes:
    """Have the photo under its name in `to`, or one like it, which is returned."""
    digest = photo.digest or b""
    plain = os.path.join(to, photo.name)
    folder = os.path.dirname(plain)
    os.makedirs(folder, exist_ok=True)
    if not os.access(folder, os.R_OK):  # nor could it be synced
        raise PermissionError(errno.EACCES, "its folder in the archive may not be listed")
    for target in (plain, marked(plain, digest)):
        try:
            _link(source, target, photo)
        except FileExistsError:
            if _digest(target) != digest:
                continue
            if are_one(folder, os.path.dirname(source)):  # it is its own copy
                raise OSError(
                    errno.EEXIST, "the archive is the same folder by another path"
                ) from None
            _remove(_partial_of(target, digest))  # of a night that was cut short as it had both
            _check(source, photo)
        return target
    raise FileExistsError(errno.EEXIST, "its names in the archive are taken by other files")


def _are_one(folder: bytes, other: bytes) -> bool:
    """Whether two folders are one, tried out: a mount may show other numbers than the system's."""
    probe = os.path.join(folder, _PROBE)
    try:
        with open(probe, "wb"):
            return os.path.lexists(os.path.join(other, _PROBE))
    finally:
        if os.path.lexists(probe):
            os.unlink(probe)


def _link(source: bytes, target: bytes, photo: Photo) -> None:
    _check(source, photo)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _copy(source, target, photo)
    else:
        if stamp_of(os.lstat(target))[:2] != photo.stamp[:2]:  # replaced in that instant
            os.unlink(target)
            raise _Changed


def _copy(source: bytes, target: bytes, photo: Photo) -> None:
    digest = photo.digest or b""
    partial = _partial_of(target, digest)
    try:
        _remove(partial)  # which of a night that was cut short may be one file with its target
        _require_free(target)
        with open(source, "rb") as old, open(partial, "xb") as new:
            shutil.copyfileobj(old, new)
            new.flush()
            os.fsync(new.fileno())
        for as_it_was in (shutil.copystat, shutil.copymode):  # the second, where the first stops
            with suppress(OSError):  # a file system may have no room for more, or not know of it
                as_it_was(source, partial)
        if _digest(partial) != digest:
            _check(source, photo)
            raise OSError(errno.EIO, "its copy in the archive is not what it should be")
        _give_name(partial, target)
    finally:
        _remove(partial)


def _partial_of(target: bytes, digest: bytes) -> bytes:
    """What a copy with that digest is called before it has its name."""
    return os.path.join(os.path.dirname(target), b".%b.part" % digest.hex().encode())


def _give_name(partial: bytes, target: bytes) -> None:
    """Have the copy under its name too. Raises FileExistsError where that is taken by now."""
    try:
        os.link(partial, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _require_free(target)  # to rename would overwrite it
        os.rename(partial, target)


def _require_free(target: bytes) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "the name is taken")


def _remove(partial: bytes) -> None:
    if os.path.lexists(partial):
        os.unlink(partial)


def _check(source: bytes, photo: Photo) -> None:
    found = os.lstat(source)
    now, known = stamp_of(found), photo.stamp
    same = stat.S_ISREG(found.st_mode) and (now.size, now.modified) == (known.size, known.modified)
    # A link to the same file, made or removed, changes that time too.
    if not same or (now.changed != known.changed and _digest(source) != photo.digest):
        raise _Changed


def _identity(path: bytes) -> Identity:
    """What a link to the file leaves as it was."""
    found = os.lstat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _digest(path: bytes) -> bytes:
    """SHA-256 of a regular file; nothing of what else may lie there, as a pipe."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return b""
    with open(path, "rb") as file:
        found = hashlib.sha256()
        while part := file.read(2**20):
            found.update(part)
        return found.digest()
