"""Replace a model folder: the old one or the new one is always there, or comes back."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from garments.card import CardError, old_of, read_card
from garments.in_place import sync
from garments.training_request import TrainingError

WHOLE = "whole"

log = logging.getLogger(__name__)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give a place beside `folder`, in which to make a folder `WHOLE` that takes its place.

    Other processes that replace a folder beside it wait. Where the block raises, or makes no
    such folder, the old one stays. Of a link it is the folder behind it that is replaced.
    Raises TrainingError where something cannot be written or read, in the block too; its text
    says where the new folder has its place nevertheless.
    """
    folder = folder.resolve()
    partial, old = folder.with_name(f".{folder.name}.part"), old_of(folder)
    try:
        with _alone_in(folder.parent):
            try:
                _clear(folder, partial, old)
                partial.mkdir()
                yield partial
                _sync(partial / WHOLE)
                if folder.exists():
                    folder.rename(old)
                (partial / WHOLE).rename(folder)
                _sync_name(folder)
            finally:
                _clear(folder, partial, old)
    except OSError as error:
        raise TrainingError(
            f"no model was put into {folder} ({error}): mend that, and the same command makes "
            "it of what was trained, which is kept"
        ) from error


def restore(folder: Path) -> None:
    """Put back the old model where a run was killed before the new one was in its place."""
    folder = folder.resolve()
    old = old_of(folder)
    if old.exists():
        with _alone_in(folder.parent):
            if old.exists() and not folder.exists():
                log.warning("%s is put back: a run was killed while it was replaced", folder)
                old.rename(folder)


def _clear(folder: Path, partial: Path, old: Path) -> None:
    """Take back an old model whose place nothing took, also of a run that was killed."""
    if old.exists() and not folder.exists():
        old.rename(folder)
    for left_behind in (partial, old):
        shutil.rmtree(left_behind, ignore_errors=True)


def keep_what_accepts(
    folder: Path, threshold: float, new: str, way_out: str, kept_in: Path | None = None
) -> None:
    """Refuse a `new` model that accepts nothing, by its `threshold`, where that in `folder` does.

    With it every photo would go to people from the next start of the service on. What has been
    trained is `kept_in` a folder. Raises TrainingError.
    """
    try:
        old = read_card(folder).accept_threshold
    except CardError:  # nothing that is served
        return
    if old <= 1 < threshold:
        kept = f"; {kept_in} keeps what was trained, so nothing is trained again for that"
        raise TrainingError(
            f"{folder} is not replaced: its model accepts answers, and {new} would accept none; "
            f"{way_out}, or write it elsewhere with --name{kept if kept_in else ''}"
        )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process is in this block for `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process that writes a model into %s", folder)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync_name(folder: Path) -> None:
    """Have a crash of the machine keep the new model, which is in its place by now."""
    try:
        sync(folder.parent)
    except OSError as error:
        raise TrainingError(
            f"the new model is in {folder}, but a crash of the machine may still lose it "
            f"({error}): mend that, and the same command makes it again of what was trained"
        ) from error


def _sync(folder: Path) -> None:
    """Put a folder and the files in it on the disk."""
    for path in (*folder.iterdir(), folder):
        sync(path)
