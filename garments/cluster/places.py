"""Where photos are: a folder, a glob, or below an `s3://` URL; to be listed and read there.

And how objects are written, since a table and its parts may be below such a URL too.
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from mmap import mmap
from typing import Any

from garments.batch import photo
from garments.batch.errors import UsageError
from garments.batch.walk import EXTENSIONS, Found, kind_of, stamp_of, walk
from garments.cluster.globs import WILD, Glob
from garments.store import Stamp

_S3 = "s3://"
_NO_NAMES = ("", ".", "..")
"""Between slashes: keys may have them, but PyArrow lists none below "", and resolves dots."""


class Changed(Exception):
    """A photo is no longer what was listed."""


@dataclass(frozen=True)
class Place:
    """A folder or prefix, and which of the names in it are meant; made anew on every machine."""

    root: str
    """A path, or the URL of a bucket or prefix without its query."""
    options: str = ""
    """The query of the URL: `region=…`, `endpoint_override=…` and the like, as pyarrow has them."""
    pattern: str = ""
    """A glob for names relative to `root`; "" stands for all."""

    @classmethod
    def of(cls, text: str) -> Place:
        """Understand what was given on a command line. Raises UsageError."""
        path = path_of(text)
        options = text[len(path) + 1 :]
        scheme, separator, _ = path.partition("://")
        if path.startswith(_S3):
            _bucket_of(path)
        elif separator:
            raise UsageError(f"{scheme}:// is not served: name a folder, a glob or an s3:// URL")
        pattern = ""
        if not os.path.isdir(path) and (wild := WILD.search(path)):
            cut = path.rfind("/", 0, wild.start()) + 1
            path, pattern = path[:cut], path[cut:]
            Glob(pattern)  # which raises for a mistyped one
        if not path.startswith(_S3):
            # Workers have folders of their own to be in; and where we are may look like a pattern.
            path, pattern = os.path.abspath(path), pattern and os.path.normpath(pattern)
        return cls(path.rstrip("/") or "/", options, pattern)

    @property
    def remote(self) -> bool:
        """Whether the photos are in an object store."""
        return self.root.startswith(_S3)

    def listed(self, others: Counter[str] | None = None) -> Iterator[Found]:
        """The image files here, in any order; what else is meant is counted in `others`.

        Raises UsageError.
        """
        if others is None:
            others = Counter()
        if self.remote:
            return self._objects(others)
        return walk(os.fsencode(self.root), others, enters=self._may_hold, takes=self._means)

    def read(self, name: str, stamp: Stamp, most: int) -> bytes:
        """The bytes of one photo. Raises Changed, and OSError; also beyond `most` bytes."""
        if stamp.size > most:
            raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
        if self.remote:
            content = self._read_object(name)
            if len(content) != stamp.size:
                raise Changed
            return content
        try:
            path = os.path.join(os.fsencode(self.root), os.fsencode(name))
            return photo.read(path, stamp, settle_seconds=0)
        except photo.StillWritten as error:
            raise Changed from error

    def without_unsettled(
        self, found: Iterable[Found], seconds: float, left: list[bytes]
    ) -> Iterator[Found]:
        """`found`, but for files that were changed in the last `seconds` and change again.

        They are looked at a second time when all others have been given, and are `left` then. An
        object appears whole, so none of them is waited for.
        """
        if self.remote or not seconds:
            yield from found
            return
        late = []
        for one in found:
            if abs(time.time() - one.stamp.modified / 1e9) < seconds:
                late.append(one)
            else:
                yield one
        if late:
            time.sleep(seconds)
        for one in late:
            try:
                status = os.lstat(os.path.join(os.fsencode(self.root), one.name))
            except FileNotFoundError:
                continue  # taken away meanwhile, as if it had never been there
            if stamp_of(status) == one.stamp:
                yield one
            else:
                left.append(one.name)

    @cached_property
    def _glob(self) -> Glob:
        return Glob(self.pattern)

    def _may_hold(self, folder: bytes) -> bool:
        return self._glob.may_be_in(os.fsdecode(folder))

    def _means(self, name: bytes) -> bool:
        return self._glob.matches(os.fsdecode(name))

    @cached_property
    def _store(self) -> tuple[Any, str]:
        return file_system(self.root + (f"?{self.options}" if self.options else ""))

    def _objects(self, others: Counter[str]) -> Iterator[Found]:
        """Walk from prefix to prefix, so that no more than one of them is in memory.

        Raises UsageError for one that cannot be listed, since photos may be below it.
        """
        from pyarrow import fs

        store, root = self._store
        folders = [root]
        while folders:
            folder = folders.pop()
            try:
                entries = store.get_file_info(fs.FileSelector(folder))
            except OSError as error:
                raise UsageError(f"{_S3}{folder} cannot be listed: {error}") from error
            for entry in entries:
                name = entry.path[len(root) :].strip("/")
                if entry.type == fs.FileType.Directory:
                    # PyArrow cannot name what is below `//`: it gives the folder itself once more.
                    again = not entry.path.rstrip("/").startswith(f"{folder}/")
                    if not self._glob.may_be_in(f"{name}/" if again and name else name):
                        continue
                    if again:
                        raise UsageError(
                            f"{_S3}{folder}// cannot be listed: rename the objects whose keys "
                            "begin so, with one slash for the two"
                        )
                    if name.rpartition("/")[2] in _NO_NAMES:
                        raise UsageError(
                            f"{_S3}{entry.path}/ cannot be read: rename the objects whose keys "
                            "begin so, since on the way to them that stands for another folder"
                        )
                    folders.append(entry.path)
                elif not self._glob.matches(name):
                    continue
                elif name.lower().endswith(EXTENSIONS):
                    yield Found(os.fsencode(name), Stamp(entry.size, entry.mtime_ns or 0, 0))
                else:
                    others[kind_of(os.fsencode(name))] += 1

    def _read_object(self, name: str) -> bytes:
        store, root = self._store
        try:
            with store.open_input_stream(f"{root}/{name}", compression=None) as file:
                return bytes(file.readall())
        except FileNotFoundError as error:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT)) from error


def path_of(text: str) -> str:
    """A path as it is, and a URL without its query, which has a `=`: a `?` may be a wildcard."""
    path, _, options = text.rpartition("?")
    return path if text.startswith(_S3) and "=" in options else text


def _bucket_of(path: str) -> str:
    """The bucket of a URL without its query. Raises UsageError for one that cannot be used."""
    bucket, *names = path.removeprefix(_S3).removesuffix("/").split("/")
    if not bucket or WILD.search(bucket):
        told = "has a wildcard for its bucket" if bucket else "names no bucket"
        raise UsageError(f"{path} {told}: write s3://bucket/prefix")
    for name in names:
        if name in _NO_NAMES:
            told = f"the name {name}" if name else "an empty name"
            raise UsageError(f"{path} has {told} between two slashes: name another place")
    return bucket


def file_system(url: str) -> tuple[Any, str]:
    """The store and the path in it that an `s3://` URL names. Raises UsageError."""
    from pyarrow import ArrowInvalid, fs

    path = path_of(url)
    options = url[len(path) + 1 :]
    bucket = _bucket_of(path)
    try:
        # A key is no URL: only the bucket is, so that no character of a key is taken for an escape.
        store, _ = fs.FileSystem.from_uri(f"{_S3}{bucket}" + (f"?{options}" if options else ""))
    except (ArrowInvalid, OSError) as error:
        raise UsageError(f"{url} cannot be used: {error}") from error
    return store, path.removeprefix(_S3).rstrip("/")


def put_object(store: Any, path: str, content: bytes | mmap) -> None:
    """Write an object, which appears whole or stays as it was. Raises OSError.

    What interrupts that is heard when the object is there.
    """

    def send() -> None:
        with store.open_output_stream(path) as stream:
            stream.write(content)

    # A stream that is closed completes its upload, also where an exception closes it. In a thread
    # no signal raises one, and where it is the store that fails, nothing is completed. To write
    # beside the object and have the store copy that is no way out, since PyArrow waits three
    # seconds for an answer and a large copy takes longer; nor is PyArrow's `copy_files`, which
    # says nothing of an upload that failed.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(int).result()  # who is interrupted starting a thread does not wait for it
        sending = thread.submit(send)
        try:
            sending.result()
        except KeyboardInterrupt:
            sending.result()
            raise
