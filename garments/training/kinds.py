"""What a network for photos tells apart: as fine as the labels that it learns from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from garments.dataset import LABELS
from garments.training.judge import CLASSES
from garments.training.labelled import NONE_OF_TEN
from garments.training.learner import Floats
from garments.training.photos import Photo


@dataclass(frozen=True)
class Kind:
    """Items that go by one name, and for which the same classes are right."""

    accepted: frozenset[int]
    """The classes that are right; NONE_OF_TEN alone where it is none of the ten."""
    source_label: str = ""

    def __str__(self) -> str:
        classes = ", ".join(CLASSES[number] for number in sorted(self.accepted))
        return f"{self.source_label}: {classes}" if self.source_label else classes

    @property
    def order(self) -> tuple[list[int], str]:
        """Where it stands among the outputs of a network."""
        return sorted(self.accepted), self.source_label


# What labels tell apart that are no finer than the answers.
CLASSES_ALONE = tuple(Kind(frozenset({number})) for number in range(NONE_OF_TEN + 1))

# The class that people would say first, by those that are right for an item. Knitted pullovers
# are labelled as long sleeves; and hoodies look like these, for which a T-shirt is wrong.
SAID_FIRST = {frozenset({0, 2}): 2}
LESS_APT = 0.1
"""The cost of a right class that is not said first, where a wrong one costs 1."""


def kind_of(photo: Photo) -> Kind:
    """The kind that a photo's label names."""
    return Kind(photo.accepted, photo.source_label)


def kinds_of(photos: Iterable[Photo]) -> tuple[Kind, ...]:
    """The kinds in `photos`, and each class that is no kind by itself among them.

    A label without a name of its own adds none where others of the same classes have names.
    """
    kinds = {kind_of(photo) for photo in photos}
    named = {kind.accepted for kind in kinds if kind.source_label}
    kinds = {kind for kind in kinds if kind.source_label or kind.accepted not in named}
    seen = {kind.accepted for kind in kinds}
    kinds |= {kind for kind in CLASSES_ALONE if kind.accepted not in seen}
    return tuple(sorted(kinds, key=lambda kind: kind.order))


def kind_targets(labels: Sequence[Kind], kinds: Sequence[Kind]) -> Floats:
    """Which of `kinds` each label may mean: ones and zeros (n, kinds).

    Its own; else those of the same classes; else those of some of its classes and no other.
    """
    targets = np.zeros((len(labels), len(kinds)), np.float32)
    rows = {label: _meant(label, kinds) for label in set(labels)}
    for row, label in enumerate(labels):
        targets[row, rows[label]] = 1
    return targets


def _meant(label: Kind, kinds: Sequence[Kind]) -> list[int]:
    own = [number for number, kind in enumerate(kinds) if kind == label]
    same = [number for number, kind in enumerate(kinds) if kind.accepted == label.accepted]
    return own or same or [n for n, kind in enumerate(kinds) if kind.accepted <= label.accepted]


def costs_of(kinds: Sequence[Kind]) -> Floats:
    """What it costs to give each of the ten classes for each kind (kinds, 10)."""
    costs = np.ones((len(kinds), len(LABELS)), np.float32)
    for row, kind in enumerate(kinds):
        first = SAID_FIRST.get(kind.accepted)
        for number in kind.accepted - {NONE_OF_TEN}:
            costs[row, number] = 0 if first in (number, None) else LESS_APT
    return costs
