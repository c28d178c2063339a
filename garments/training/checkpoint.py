"""An interrupted run's way back: its state after the last finished epoch, in one file."""

from __future__ import annotations

import fcntl
import hashlib
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from garments.in_place import put_in_place
from garments.training.learner import State
from garments.training.recipe import Recipe
from garments.training_request import TrainingError

# To be raised when a change to the code makes another network of the same recipe.
_EDITION = 3
# What fields of a recipe are called in the names of states: other names would begin runs anew.
_FIELDS = {"learning_rate": "rate", "muon_learning_rate": "muon_rate", "bfloat16": "half"}


def checkpoint_path(
    folder: Path, architecture: str, recipe: Recipe, digest: str, seed: int
) -> Path:
    """Where in `folder` a run keeps its state: a name that only the very same run has.

    `digest` is of what is learnt from: the rows and the teachers.
    """
    # How many networks are averaged makes no difference to any of them.
    fields = asdict(recipe).items()
    own = {_FIELDS.get(name, name): value for name, value in fields if name != "averaged"}
    mark = fingerprint(architecture, own, digest, seed)
    return folder / "training" / f"{architecture}-seed-{seed}-{mark}.npz"


def fingerprint(*identity: object) -> str:
    """Twelve digits that only what was made by this edition of the code of `identity` has."""
    text = json.dumps([_EDITION, *identity])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@contextmanager
def locked(path: Path, *, waits: bool = False) -> Iterator[None]:
    """Keep other processes off a run's state, until this one leaves or dies.

    Where another one is at it, this one `waits` or raises TrainingError, as it does where nothing
    can be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.with_suffix(".lock").open("w")
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written ({error.strerror}): training keeps there what the same "
            "command goes on from"
        ) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            raise TrainingError(
                f"another process is training the run of {path}: wait for it, or stop it"
            ) from None
        yield


def save(path: Path, state: State) -> None:
    """Replace the file by `state`; a crash leaves the old one or the new one, whole.

    Raises TrainingError where it cannot be written.
    """
    try:
        with put_in_place(path) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **state)
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written ({error.strerror}): mend that, and the same command goes "
            "on after the epoch before"
        ) from error


def load(path: Path) -> State:
    """Read a file that `save` wrote. Raises TrainingError for one that is damaged."""
    try:
        # NumPy reads the head of an array before it knows its checksum, and learns from damage.
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} is wrong")
        with path.open("rb") as file, np.load(file) as arrays:
            return {name: arrays[name] for name in arrays.files}
    # A RuntimeError is of an archive that seems to be encrypted, or packed in some other way.
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise TrainingError(
            f"{path} cannot be read ({error}): delete it, and the same command makes it anew"
        ) from error
