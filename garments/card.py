"""The card of a model folder: all that a reader or a server needs to know of the model."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

CARD_NAME = "card.json"
ONNX_NAME = "model.onnx"
KERAS_NAME = "model.keras"
ACCEPTS_NOTHING = 2.0
"""The highest `accept_threshold`: no confidence reaches it."""
_USED_TO_SERVE = {
    *{"name", "version", "labels", "height", "width", "channels", "preprocessing"},
    *{"accept_threshold", "golden_input", "golden_probabilities", "multiply_accumulates"},
}
# What each type of these is in JSON, whose true and false are no numbers, and in words.
_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "list[str]": ((str,), "a list of texts"),
    "list[float]": ((int, float), "a list of numbers"),
}


class CardError(Exception):
    """A model folder is missing, incomplete or contradicts itself; the text says how."""


@dataclass(frozen=True)
class Card:
    """What `card.json` holds; the names of the fields are the names in the file."""

    name: str
    version: str
    """First 12 hex digits of the SHA-256 of model.onnx."""
    labels: list[str]
    height: int
    width: int
    channels: int
    preprocessing: str
    accept_threshold: float
    accept_threshold_chosen_by: str
    temperature: float
    golden_input: str
    """Base64 of one uint8 picture, height × width × channels, row by row."""
    golden_probabilities: list[float]
    parameters: int
    multiply_accumulates: int
    precision: str
    """What model.onnx computes its convolutions in: `int8`, or `float32` as model.keras does."""
    training_data_sha256: str
    """The digest of labels and pixels in the order of the rows, not of the CSV's text; for photos,
    of the files' digests with their labels and senders."""
    architecture: str
    seed: int
    epochs: int
    backend: str
    validation: dict[str, Any]
    """Scores on the held-out rows that all choices were made on; for photos, on all of them, by
    networks that saw no other of the same contributor."""
    scores: dict[str, Any]
    """Scores on the test set; for photos, which have none, those of `validation` in `float32` and
    with the labels `as_they_came`, and those on `catalogue_shots`, of held-out Fashion-MNIST."""
    runs: list[dict[str, Any]]
    """Every seed that was trained alike: its number, validation and test scores; for photos, the
    scores of each fold of contributors."""
    averaged: int = 1
    """Networks whose weights were averaged."""
    taught_by: list[str] = field(default_factory=list)
    """Versions of the models whose answers it learnt beside the labels."""
    kinds: list[str] = field(default_factory=list)
    """What the network tells apart and the classes right for each, where it is more than labels."""

    @property
    def identity(self) -> str:
        """What tells one model from every other: name@version."""
        return f"{self.name}@{self.version}"

    def write(self, folder: Path) -> None:
        """Write `card.json` into the model folder."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / CARD_NAME).write_text(text + "\n", encoding="utf-8")


def is_model_folder(folder: Path) -> bool:
    """Whether a model is in `folder`, be it whole or, as while it is copied, in part.

    Also where nobody can tell, for want of permission say: to read it then says why.
    """
    return any(_may_exist(folder / name) for name in (CARD_NAME, KERAS_NAME, ONNX_NAME))


def old_of(folder: Path) -> Path:
    """Where training puts an old model while a new one takes its place in `folder`.

    The service passes over folders whose name begins with a dot.
    """
    return folder.with_name(f".{folder.name}.old")


def is_due(folder: Path, usual: str) -> bool:
    """Whether a model has to be in `folder`, that could be missing if it were called as `usual`.

    Not if its name is free. Where a link leads nowhere, a disk is not mounted, or training was
    killed while it replaced the model, there is one, and it is away.
    """
    return folder.name != usual or any(map(os.path.lexists, (folder, old_of(folder))))


def _may_exist(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def read_model(folder: Path) -> tuple[Card, bytes]:
    """Read a model folder's card and its model.onnx, which belong together. Raises CardError."""
    path = folder / CARD_NAME
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        # A later version may tell more.
        card = Card(
            **{entry.name: told[entry.name] for entry in fields(Card) if entry.name in told}
        )
        onnx = (folder / ONNX_NAME).read_bytes()
    except FileNotFoundError as error:
        raise CardError(
            f"{error.filename} does not exist: {folder} is no model folder; "
            "make one with train_model.py, or copy that of the service"
        ) from error
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise CardError(f"{path} cannot be read: {error}") from error
    _check_types(card, path)
    if {"@", "+"} & set(card.name):
        raise CardError(
            f"{path} calls the model {card.name!r}: a name has neither @, which stands before a "
            "version, nor +, which stands between models; call model and folder otherwise"
        )
    version = _version(onnx)
    if card.version != version:
        raise CardError(
            f"{folder / ONNX_NAME} has version {version}, but its card says {card.version}: "
            "the folder mixes two models; restore it or train again"
        )
    return card, onnx


def _check_types(card: Card, path: Path) -> None:
    used = [entry for entry in fields(Card) if entry.name in _USED_TO_SERVE]
    for name, kind in [(entry.name, str(entry.type)) for entry in used]:
        types, words = _TYPES[kind]
        value = getattr(card, name)
        values = value if kind.startswith("list") else [value]
        if not isinstance(values, list) or not {type(one) for one in values} <= {*types}:
            raise CardError(
                f"{path} has something else than {words} for {name}: "
                "restore the folder or train again"
            )


def read_card(folder: Path) -> Card:
    """Read the card of a model folder and hold it against model.onnx. Raises CardError."""
    return read_model(folder)[0]


def version_of(onnx: Path) -> str:
    """The version of a served model: first 12 hex digits of the file's SHA-256. Raises OSError."""
    return _version(onnx.read_bytes())


def _version(onnx: bytes) -> str:
    return hashlib.sha256(onnx).hexdigest()[:12]
