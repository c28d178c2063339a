"""What the answers of people say of a model: how right it is, and where it may accept."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from garments.bounds import accepted_downwards

_Z = 1.959964  # of the normal distribution: 95 % lie within


class Judged(Protocol):
    """An answer of a model that a person has looked at."""

    @property
    def at(self) -> datetime: ...
    @property
    def kind(self) -> str:
        """`doubtful`, `wrong` or `sample`: why it was looked at."""

    @property
    def prediction(self) -> int: ...
    @property
    def confidence(self) -> float: ...
    @property
    def answer(self) -> int | None:
        """The person's; None for none of the classes."""


@dataclass(frozen=True)
class Rate:
    """How many of some were right."""

    right: int
    count: int

    @property
    def share(self) -> float:
        return self.right / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, which holds the true share 95 times of 100 (JASA 22, 1927)."""
        if not self.count:
            return 0.0, 1.0
        spread = _Z**2 / self.count
        middle = (self.share + spread / 2) / (1 + spread)
        half = _Z / (1 + spread)
        half *= math.sqrt(self.share * (1 - self.share) / self.count + spread / 4 / self.count)
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Threshold:
    """From which confidence on few enough answers are wrong."""

    most: float
    """The share of them that may be; the true one exceeds it one time in twenty at most."""
    confidence: float | None
    """None where no number of answers that were looked at is enough to say."""
    count: int = 0
    """Of those that were looked at, how many are as sure as that."""
    wrong: int = 0


def is_stranger(one: Judged) -> bool:
    """Whether a photo of none of the classes was left to people, who alone can say so.

    There is no class that would have been right: it is in no rate. Where one was accepted as some
    class, that was a mistake.
    """
    return one.answer is None and one.kind == "doubtful"


def rate(judged: Iterable[Judged]) -> Rate:
    """How often the model was right, strangers left out."""
    rights = [one.prediction == one.answer for one in judged if not is_stranger(one)]
    return Rate(sum(rights), len(rights))


def by_class(judged: Iterable[Judged], classes: int) -> list[Rate]:
    """How often it was right on each true class; the last is what it accepted of none of them."""
    found: list[list[Judged]] = [[] for _ in range(classes + 1)]
    for one in judged:
        found[classes if one.answer is None else one.answer].append(one)
    return [rate(some) for some in found]


def by_week(judged: Iterable[Judged]) -> list[tuple[date, Rate]]:
    """How often it was right in each week that had answers, named by its Monday here."""
    weeks: dict[date, list[Judged]] = defaultdict(list)
    for one in judged:
        if is_stranger(one):
            continue
        day = one.at.astimezone().date()
        weeks[day - timedelta(days=day.weekday())].append(one)
    return [(monday, rate(weeks[monday])) for monday in sorted(weeks)]


def overall(
    doubtful: Rate, sample: Rate, accepted: float | None
) -> tuple[float, float, float] | None:
    """The share right of all answers, and what it lies between; None without a sample.

    `accepted` is the share of all answers that are; None where that is not known, nor is the rest
    then. Both parts are weighed by how many there really are, and the limits are those of both
    parts together, so that they are rather wide. People are given the most doubtful first, so it is
    too low until they have looked at all that are doubtful.
    """
    if not doubtful.count or not sample.count or accepted is None:
        return None
    shares = (doubtful.share, sample.share)
    lows, highs = zip(doubtful.interval, sample.interval, strict=True)
    middle, low, high = (
        (1 - accepted) * of_doubtful + accepted * of_sample
        for of_doubtful, of_sample in (shares, lows, highs)
    )
    return middle, low, high


def threshold(judged: Sequence[Judged], most: float) -> Threshold:
    """The lowest confidence from which on at most a share `most` is wrong, as far as one can say.

    By `accepted_downwards`, since no other photos check it later, as the test set does the model's
    own threshold. It holds for a day's look at it, not for the looks of all days together.
    Answers that were looked at because they contradict a slip are left out: they were chosen for
    being wrong. Doubtful ones are in it more often than accepted ones, of which there is a sample
    at most, so that the confidence found is rather too high than too low.
    """
    fair = [one for one in judged if one.kind != "wrong"]
    rights = [one.prediction == one.answer for one in fair]
    found = accepted_downwards([one.confidence for one in fair], rights, most)
    return Threshold(most, *found) if found else Threshold(most, None)
