"""Whether a night's counts moved by more than chance, and the habit of the nights, explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

THRESHOLD = 0.001
LEAST_PHOTOS = 50


@dataclass(frozen=True)
class Shift:
    """What `shift` found."""

    p: float
    """How probable such a night is, or one further off, if nothing moved."""
    nights: int
    """How many earlier nights it was compared with."""
    dispersion: float | None
    """How much more than by chance nights vary, at least 1; None of too few to tell."""

    @property
    def shifted(self) -> bool:
        """Whether it is more than chance explains."""
        return self.p < THRESHOLD

    @property
    def test(self) -> str:
        if self.dispersion is None:
            return "Pearson’s chi-squared test of homogeneity"
        return "Pearson’s chi-squared test, scaled by how the nights before differ (F test)"


def usable(night: Sequence[int]) -> bool:
    """Whether a night's counts tell enough to be compared."""
    return sum(night) >= LEAST_PHOTOS


def shift(tonight: Sequence[int], earlier: Sequence[Sequence[int]]) -> Shift | None:
    """Compare the counts of a night with those of all `usable` earlier nights together.

    None where there is too little to compare: not 50 photos tonight, no earlier night that had
    them, or no two categories that 5 photos are expected in; rarer ones are counted together.
    """
    past = [night for night in earlier if usable(night)]
    if not past or not usable(tonight):
        return None
    # Slow to load, and many a night has nothing to compare.
    from garments.morning.homogeneity import compare

    found = compare(tonight, past)
    return found and Shift(found[0], len(past), found[1])
