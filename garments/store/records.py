"""What goes into the store and comes out of it, in the words of the night."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

SETTLED = timedelta(days=7)
"""How long a person's answer may be taken back, and its photo keeps its rank."""


class Stamp(NamedTuple):
    """What tells a changed file from an unchanged one without reading it."""

    size: int
    modified: int
    """Nanoseconds, as `changed`; together they show what a copy that keeps times would hide."""
    changed: int


@dataclass(frozen=True)
class Photo:
    """One image file of a directory, as it was read."""

    name: bytes
    stamp: Stamp
    digest: bytes | None
    """SHA-256 of the content; None where it could not be read."""
    problem: str | None = None
    """Why this night has no answer for it."""


@dataclass(frozen=True)
class Answer:
    """What a service with the models `model` said of a content."""

    digest: bytes
    model: str
    """name@version of all that the service chooses from, joined by +."""
    decision: str
    prediction: int | None = None
    label: str | None = None
    confidence: float | None = None
    top: list[list[Any]] | None = None
    """[label, confidence] of the likeliest classes, best first."""
    problem: str | None = None
    thumbnail: bytes | None = None
    answered_by: str | None = None
    """name@version of the one that answered, where there are several."""


class Known(NamedTuple):
    """A photo that an earlier night, or this one, has dealt with."""

    name: bytes
    stamp: Stamp
    answered_in: int | None
    """The run that a model's answer is from; None without one."""


class Outcome(NamedTuple):
    """A photo with the answers of one model and of a person, as far as it has them."""

    name: bytes
    new_in: int
    problem: str | None
    expected: int | None
    decision: str | None
    prediction: int | None
    label: str | None
    confidence: float | None
    model: str | None
    """name@version of what answered."""
    digest: bytes | None
    drawn: bool
    """Whether a thumbnail is kept."""
    drawn_for_slip: bool | None
    """Whether that is so only since the slip says something else, or since an earlier answer."""
    waiting: float | None
    """Its rank in the queue for people, as the last night left it."""
    reviewed: bool
    """Whether a person has answered for the content; then `answer` is what they said."""
    answer: int | None
    """None for none of the classes."""
    settled: bool | None
    """Whether that was longer than SETTLED ago."""
    top: list[list[Any]] | None
    """The likeliest labels with their confidences, where none is likelier than not."""
