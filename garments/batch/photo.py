"""Read one photo whole, or tell that it is still being written."""

from __future__ import annotations

import os
import stat
import time

from garments.batch.walk import stamp_of
from garments.store import Stamp


class StillWritten(Exception):
    """The file changed since it was found, or so lately that it may change again."""

    def __init__(self, stamp: Stamp) -> None:
        super().__init__()
        self.stamp = stamp
        """As of now."""


def read(path: bytes, stamp: Stamp, settle_seconds: float) -> bytes:
    """The bytes of the regular file that had `stamp` when it was found.

    Raises StillWritten for one that has changed since, changes meanwhile, or was changed less
    than `settle_seconds` ago, and OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):  # what was a file may be a pipe by now
            raise OSError(0, "it is no regular file")
        # Either way: a clock that jumped must not keep a photo out for ever.
        recent = settle_seconds and abs(time.time() - before.st_mtime) < settle_seconds
        if recent or stamp_of(before) != stamp:
            raise StillWritten(stamp_of(before))
        content = _all_of(descriptor, stamp.size)
        after = stamp_of(os.fstat(descriptor))
        if after != stamp or len(content) != stamp.size:
            raise StillWritten(after)
        return content
    finally:
        os.close(descriptor)


def _all_of(descriptor: int, size: int) -> bytes:
    """What a file holds that should hold `size` bytes, or somewhat more than that."""
    content = os.read(descriptor, size + 1)
    while len(content) < size and (more := os.read(descriptor, size)):  # the kernel may give less
        content += more
    return content
