"""The morning report: one HTML page of a night, complete in itself, for whoever comes in first."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from garments.bounds import none_at_least
from garments.cells import readable
from garments.morning import drift
from garments.morning.moved import SURE, Moved

CONFIDENCE_BINS = 20
MOST_SHOWN = 200
"""Photos of a list that the page shows; the table has all."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# A picture this wide is enlarged on the page, and a blur would hide what the model saw.
_FEW_PIXELS = 64
_PIECES_AT_ONCE = 100
# A file that was cut off, or is no photo, turns up now and then, and of few photos one is soon a
# large share. A broken camera, disk or transfer spoils whole batches.
_MANY_UNREADABLE = 10
_UNREADABLE_SHARE = 0.05


@dataclass(frozen=True)
class Photo:
    """One photo of a list; any text may hold any character, however odd."""

    filename: str
    label: str = ""
    """Empty where unreadable."""
    confidence: float | None = None
    """None where a person answered, or nobody."""
    expected: str = ""
    """The label on the return slip; empty if there is none."""
    problem: str = ""
    """Why it is unreadable."""
    top: tuple[tuple[str, float], ...] = ()
    """The likeliest labels with their confidences, the likeliest first."""
    thumbnail: bytes | None = None
    """A small JPEG or PNG."""

    @property
    def source(self) -> str | None:
        """The thumbnail as a data URI, None if it is neither PNG nor JPEG."""
        data = self.thumbnail or b""
        kind = "png" if data.startswith(_PNG) else "jpeg" if data.startswith(_JPEG) else None
        return kind and f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

    @property
    def coarse(self) -> bool:
        """Whether the thumbnail is of so few pixels that each should be seen."""
        data = self.thumbnail or b""
        # The header chunk comes first, and the width first in it.
        return data.startswith(_PNG) and int.from_bytes(data[16:20], "big") < _FEW_PIXELS


@dataclass(frozen=True)
class Tally:
    """How the new photos of one night were answered."""

    day: str
    """The ISO date of the night."""
    classes: tuple[int, ...]
    """The count of each class, in the order of the labels."""
    confidences: tuple[int, ...]
    """Counts in 20 equally wide bins from 0 to 1; their lower edges belong to them, and so does 1
    to the last."""
    model: str | None = None
    """name@version of what answered; None where that is not known, or the night's own."""


@dataclass(frozen=True)
class Summary:
    """What one night came to."""

    started: datetime
    """With its time zone."""
    seconds: float
    directory: str
    table: str
    """The name of the file that has all rows."""
    model: str
    """name@version"""
    labels: tuple[str, ...]
    found: int
    """Should be `accepted + review + reviewed + unreadable + left`; the page warns if it is not."""
    accepted: int
    review: int
    unreadable: int
    left: int
    """Still being written, and left to the next night."""
    posted: int
    """Sent to the service this night."""
    mismatched: int
    """Accepted or reviewed, and not what the return slip says."""
    slips_without_photo: int
    classes: tuple[int, ...]
    """Of all photos in the table, as in `Tally`, but by a person's answer where there is one."""
    confidences: tuple[int, ...]
    """Of the model's answers, whatever people have said since."""
    tally: Tally
    """Of the photos that are new this night."""
    reviewed: int = 0
    """Those that a person has answered for."""
    none: int = 0
    """Of these, those that are none of the classes."""
    none_likelier: int = 0
    """Those for review that count as of a class, though it is likelier that they are of none."""
    vanished: bool = False
    """Whether photos that were there before are all gone, and no night archived them."""
    carried: int = 0
    """Rows beside all these, of photos that a night archived before it was cut short."""
    unreadable_new: int = 0
    """Those that are new this night, or could not be opened in the nights before either."""
    earlier: tuple[Tally, ...] = ()
    """Of the nights before, the oldest first. Those of other classes are passed over."""

    @property
    def counted(self) -> int:
        return self.accepted + self.review + self.reviewed + self.unreadable + self.left

    @property
    def unchanged(self) -> bool:
        """Whether earlier nights had all photos that are there, so that none tells of this one.

        One that is still being written may be new.
        """
        new = sum(self.tally.classes) + self.unreadable_new + self.left
        return not new and bool(self.found or self.earlier)

    @property
    def spoiled(self) -> tuple[int, int, str] | None:
        """How many could not be read, of how many, and of which; None if that is usual.

        Many of the new are told even where they are few of all that the folder keeps.
        """
        new = self.unreadable_new + sum(self.tally.classes)
        looked_at = self.found - self.left
        for unreadable, count, kind in (
            (self.unreadable_new, new, "that had no answer yet"),
            (self.unreadable, looked_at, "found"),
        ):
            if unreadable >= _MANY_UNREADABLE and unreadable > _UNREADABLE_SHARE * count:
                return unreadable, count, kind
        nothing = self.unreadable == looked_at > 0
        return (self.unreadable, looked_at, "found") if nothing else None


def render(
    night: Summary,
    review: Iterable[Photo],
    unreadable: Iterable[Photo],
    mismatched: Iterable[Photo],
    most: int = MOST_SHOWN,
) -> Iterator[str]:
    """The page in pieces, which UTF-8 can always encode.

    `review` comes with the most doubtful first. No more than `most` photos are taken of each list,
    and only one is held at a time; how many more there are follows from the counts in `night`.
    Raises ValueError where counts do not fit the labels or the bins.
    """
    if {len(night.classes), len(night.tally.classes)} != {len(night.labels)}:
        raise ValueError(f"there must be a count for each of the {len(night.labels)} labels")
    if {len(night.confidences), len(night.tally.confidences)} != {CONFIDENCE_BINS}:
        raise ValueError(f"confidences must be counted in {CONFIDENCE_BINS} bins")
    earlier = [
        tally
        for tally in night.earlier
        if len(tally.classes) == len(night.labels)
        and len(tally.confidences) == CONFIDENCE_BINS
        and drift.usable(tally.classes)
    ]
    bins = _bin_names()
    stream = _template().stream(
        night=night,
        day=date.fromisoformat(night.tally.day),
        mismatched=_Shown(mismatched, night.mismatched, most),
        review=_Shown(review, night.review, most),
        unreadable=_Shown(unreadable, night.unreadable, most),
        classes=_bars(
            (*night.labels, *(["none of these"] if night.none else [])),
            (*night.classes, *([night.none] if night.none else [])),
        ),
        confidences=_bars(bins, night.confidences)[::-1],
        earlier=earlier,
        new=sum(night.tally.classes),
        of_others=sum(tally.model not in (None, night.model) for tally in earlier),
        mix=Moved(night.labels, night.tally.classes, [tally.classes for tally in earlier]),
        sureness=Moved(bins, night.tally.confidences, [tally.confidences for tally in earlier]),
        sure=SURE,
        threshold=drift.THRESHOLD,
        least_photos=drift.LEAST_PHOTOS,
    )
    stream.enable_buffering(_PIECES_AT_ONCE)
    return stream


def surely_none(top: Sequence[Sequence[Any]], classes: int) -> float | None:
    """How likely it at least is none of the classes, where the likeliest, of `top`, is less so."""
    least = none_at_least([confidence for _, confidence in top], classes)
    return least if top and least > top[0][1] else None


class _Shown:
    """The photos of a list that the page shows, and how many it leaves out."""

    def __init__(self, photos: Iterable[Photo], total: int, most: int) -> None:
        self._photos = islice(photos, most)
        self._shown = 0
        self.total = total

    def __iter__(self) -> Iterator[Photo]:
        for photo in self._photos:
            self._shown += 1
            yield photo

    @property
    def more(self) -> int:
        """How many were not shown; told after the last that was."""
        return max(0, self.total - self._shown)


@dataclass(frozen=True)
class _Bar:
    name: str
    count: int
    share: float
    """Of all bars together."""
    length: float
    """Of the longest bar."""


def _bars(names: Sequence[str], counts: Sequence[int]) -> list[_Bar]:
    longest, total = max(*counts, 1), max(sum(counts), 1)
    named = zip(names, counts, strict=True)
    return [_Bar(name, count, count / total, count / longest) for name, count in named]


def _bin_names() -> list[str]:
    width = 100 // CONFIDENCE_BINS
    return [f"{start}–{start + width} %" for start in range(0, 100, width)]


def _finalized(value: object) -> object:
    """What goes into the page for a value; what a macro of the page made is ready for it."""
    plain = isinstance(value, str) and not hasattr(value, "__html__")
    return readable(str(value)) if plain else value


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    environment.globals["surely_none"] = surely_none
    filters = environment.filters
    filters.update(number="{:,}".format, percent=_percent, points=_points, duration=_duration)
    return environment.get_template("page.html")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}".replace("%", "\u00a0%")


def _points(difference: float) -> str:
    """Percentage points, with a sign: the true minus, and none for what rounds to nothing."""
    rounded = round(100 * difference, 1)
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"


def _duration(seconds: float) -> str:
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}\u00a0h {minutes}\u00a0min" if hours else f"{minutes}\u00a0min {rest}\u00a0s"
