"""The night that is under way, as those know it who do a part of its work."""

from __future__ import annotations

from dataclasses import dataclass, field

from garments.settings import Settings
from garments.store import Store


@dataclass
class Night:
    """One run over a directory; `model` is as of now.

    `model` names all models that the service chooses from: an answer counts as long as these are
    the same, whichever of them gave it.
    """

    store: Store
    settings: Settings
    directory: bytes
    run: int
    model: str
    fresh: bool
    """Whether photos with known answers are sent too."""
    new_after: int = 0
    """A photo that was seen first in a later run than this one is new."""
    moved: bool = False
    """Whether a night archived photos since the last one that found any and ended."""
    unended: bool = False
    """Whether a night did so that did not end: its photos have no row in any table that stays."""
    vanished: bool = False
    """Whether photos that are known are all gone, and nobody knows why."""
    left: set[bytes] = field(default_factory=set)
    """The names of files that are still being written."""
    posted: int = 0
    """How many pictures were sent, but for those that another model had to answer again; told once
    all are."""
