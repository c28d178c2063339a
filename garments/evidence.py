"""What the answers of people say of a model: how right it is, and where it may accept."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

RISK = 0.05
"""How often a bound may be wrong."""
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
    """The share of them that may be."""
    confidence: float | None
    """None where no number of answers that were looked at is enough to say."""
    count: int = 0
    """Of those that were looked at, how many are as sure as that."""
    wrong: int = 0
    bound: float = 1.0
    """What the true share of wrong ones does not exceed, but for a RISK."""


def rate(judged: Iterable[Judged]) -> Rate:
    """How often the model was right."""
    rights = [one.prediction == one.answer for one in judged]
    return Rate(sum(rights), len(rights))


def by_class(judged: Iterable[Judged], classes: int) -> list[Rate]:
    """How often it was right on each true class; the last is for none of them."""
    found: list[list[Judged]] = [[] for _ in range(classes + 1)]
    for one in judged:
        found[classes if one.answer is None else one.answer].append(one)
    return [rate(some) for some in found]


def by_week(judged: Iterable[Judged]) -> list[tuple[date, Rate]]:
    """How often it was right in each week that had answers, named by its Monday."""
    weeks: dict[date, list[Judged]] = defaultdict(list)
    for one in judged:
        day = one.at.date()
        weeks[day - timedelta(days=day.weekday())].append(one)
    return [(monday, rate(weeks[monday])) for monday in sorted(weeks)]


def overall(doubtful: Rate, sample: Rate, accepted: float) -> tuple[float, float, float] | None:
    """The share right of all answers, and what it lies between; None without a sample.

    `accepted` is the share of all answers that are. Both parts are weighed by how many there
    really are, and the limits are those of both parts together, so that they are rather wide.
    """
    if not doubtful.count or not sample.count:
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

    By the upper bound of Clopper and Pearson (Biometrika 26, 1934), as the model's own threshold.
    Answers that were looked at because they contradict a slip are left out: they were chosen for
    being wrong. Doubtful ones are in it more often than accepted ones, of which there is a sample
    at most, so that the confidence found is rather too high than too low.
    """
    fair = sorted((one for one in judged if one.kind != "wrong"), key=lambda one: one.confidence)
    count, wrong = len(fair), sum(one.prediction != one.answer for one in fair)
    last = -1.0
    for one in fair:
        if one.confidence > last and _tail(wrong, count, most) <= RISK:
            return Threshold(most, one.confidence, count, wrong, _bound(wrong, count))
        last = one.confidence
        count, wrong = count - 1, wrong - (one.prediction != one.answer)
    return Threshold(most, None)


def _bound(wrong: int, count: int) -> float:
    """The share of wrong ones that would give so few of them with a probability of RISK."""
    low, high = wrong / count, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if _tail(wrong, count, middle) > RISK else (low, middle)
    return high


def _tail(wrong: int, count: int, share: float) -> float:
    """The probability of at most `wrong` of `count`, where each is with probability `share`."""
    if wrong >= count * share:
        return 1.0  # at least a half, nearly: far more than a RISK
    log = math.lgamma(count + 1) - math.lgamma(wrong + 1) - math.lgamma(count - wrong + 1)
    term = math.exp(log + wrong * math.log(share) + (count - wrong) * math.log1p(-share))
    total = 0.0
    for number in range(wrong, -1, -1):  # the largest first
        total += term
        term *= number * (1 - share) / ((count - number + 1) * share)
    return total
