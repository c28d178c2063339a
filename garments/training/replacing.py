"""Replace a model folder: the old one or the new one is always there, or comes back."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WHOLE = "whole"


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give a place beside `folder`, in which to make a folder `WHOLE` that takes its place.

    Other processes that replace a folder beside it wait. Where the block raises, or makes no
    such folder, the old one stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    parent = os.open(folder.parent, os.O_RDONLY)
    # The service passes over folders whose name begins with a dot.
    partial, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("part", "old"))
    try:
        fcntl.flock(parent, fcntl.LOCK_EX)
        if old.exists() and not folder.exists():  # killed between the two renames below
            old.rename(folder)
        for left_behind in (partial, old):
            shutil.rmtree(left_behind, ignore_errors=True)
        partial.mkdir()
        yield partial
        _sync(partial / WHOLE)
        if folder.exists():
            folder.rename(old)
        (partial / WHOLE).rename(folder)
        os.fsync(parent)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for left_behind in (partial, old):
            shutil.rmtree(left_behind, ignore_errors=True)
        os.close(parent)


def _sync(folder: Path) -> None:
    """Put a folder and the files in it on the disk."""
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
