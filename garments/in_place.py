"""Files that appear whole or not at all, and durably where they cannot be made again."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO


class NotSynced(OSError):
    """The file is in its place, but a crash of the machine may still bring back the old one."""


class InPlace(KeyboardInterrupt):
    """An interrupt that came when the file had its place."""


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """Write a temporary file beside `path` and put it in its place, durably, on success.

    A link is followed: what it leads to is replaced, and it stays; who may read and write it too.
    What a killed process left behind is written over. Raises OSError: BlockingIOError where
    another process is at it, and NotSynced; and InPlace.
    """
    with put_in_place(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def put_in_place(path: Path) -> Iterator[Path]:
    """Give the name of a file to be written and closed, and do with it as `replacing` does.

    Raises BlockingIOError where another process is at it, NotSynced and InPlace.
    """
    path = Path(os.path.realpath(path))
    partial = partial_of(path)
    with _own(partial, path):
        try:
            yield partial
            _let_the_same_people_read(partial, path)
            sync(partial)
            _take_place(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    try:
        sync(path.parent)
    except OSError as error:
        raise NotSynced(error.errno, error.strerror, error.filename) from error
    except KeyboardInterrupt:
        raise InPlace from None


@contextmanager
def made_whole(path: Path) -> Iterator[Path]:
    """Give the name of a file to be written and closed; on success it takes the place of `path`.

    The name is of this process's own, since another may be making the same file. It is not synced:
    this is for what can be made again. Raises OSError.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        # No later process would write over it, and it may be what fills the disk.
        with suppress(OSError):
            partial.unlink()


def partial_of(path: Path) -> Path:
    """The temporary file of `put_in_place` that takes the place of `path`."""
    return path.with_name(f".{path.name}.part")


def _mode_beside(path: Path) -> int:
    """What the temporary file is made with, so that nobody reads it who may not read `path`."""
    with suppress(FileNotFoundError):
        if not path.stat().st_mode & stat.S_IROTH:
            return 0o600
    return 0o666


@contextmanager
def _own(partial: Path, path: Path) -> Iterator[None]:
    """Make the file, and keep every other process off it. Raises BlockingIOError."""
    while True:
        with _opened(partial, _mode_beside(path)) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                told = "another process is writing it"
                raise BlockingIOError(error.errno, told, str(partial)) from error
            # Whoever had it before may have put it in its place, or taken it away, meanwhile.
            if partial.exists() and os.path.samestat(partial.stat(), os.fstat(file.fileno())):
                if file.mode != "rb":
                    # What was left behind may be for more people.
                    _let_the_same_people_read(partial, path, least=stat.S_IRUSR | stat.S_IWUSR)
                    yield
                    return
                partial.unlink()


def _opened(partial: Path, mode: int) -> BinaryIO:
    """The file to be written; to be read where it is what another user's process left behind.

    A link in its place makes room: what it leads to is somebody's own.
    """

    def itself(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_NOFOLLOW, mode)

    if partial.is_symlink():
        partial.unlink()
    try:
        return open(partial, "ab", opener=itself)
    except PermissionError:
        return open(partial, "rb", opener=itself)


def _take_place(partial: Path, path: Path) -> None:
    """Raises InPlace for an interrupt that comes when it is done."""
    try:
        partial.replace(path)
    except KeyboardInterrupt:
        if partial.exists():
            raise
        raise InPlace from None


def _let_the_same_people_read(new: Path, old: Path, least: int = 0) -> None:
    """As far as this user may, and the file system knows of people; `least` is what it keeps."""
    with suppress(FileNotFoundError):
        status = old.stat()
        for uid, gid in (-1, status.st_gid), (status.st_uid, -1):  # one may fail without the other
            with suppress(OSError):
                os.chown(new, uid, gid)
        mode = stat.S_IMODE(status.st_mode)
        if new.stat().st_gid != status.st_gid:  # another group may do what everybody may
            mode = mode & ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3
        with suppress(OSError):
            new.chmod(mode | least)


def sync(path: Path | bytes) -> None:
    """Put a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # What a file system says, as of shared folders, that has no names to be put on a disk.
        if error.errno != errno.EINVAL or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise
    finally:
        os.close(descriptor)
