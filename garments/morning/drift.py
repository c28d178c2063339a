"""Whether a night's counts moved by more than chance, and the habit of the nights, explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

THRESHOLD = 0.001
LEAST_PHOTOS = 50
NIGHTS_TO_SEE_SPREAD = 3


@dataclass(frozen=True)
class Shift:
    """What `shift` found."""

    p: float
    """How probable such a night is, or one further off, if nothing moved."""
    nights: int
    """How many earlier nights it was compared with."""
    dispersion: float | None = None
    """How much more than by chance nights vary, at least 1; None where it cannot be told."""
    left_out: int = 0
    """How many of the nights, the farthest from the others, were left out of that; 0 of none."""
    odd: tuple[int, ...] = ()
    """The indexes of earlier nights that differ themselves from the others by more than chance and
    habit explain; told from 14 nights on."""

    @property
    def shifted(self) -> bool:
        """Whether it is more than chance explains."""
        return self.p < THRESHOLD

    @property
    def few(self) -> bool:
        """Whether the nights are too few to tell how much nights vary."""
        return self.nights < NIGHTS_TO_SEE_SPREAD

    @property
    def blind(self) -> bool:
        """Whether of so few nights even one that is all of another class may not be found."""
        return self.nights < 5

    @property
    def blunt(self) -> bool:
        """Whether of so few nights only what is glaring is found."""
        return self.nights < 10

    @property
    def test(self) -> str:
        if self.dispersion is None:
            return "Pearson’s chi-squared test of homogeneity"
        if self.left_out:
            which = "night" if self.left_out == 1 else f"{self.left_out} nights"
            return (
                "Pearson’s chi-squared test, scaled by how the nights before differ in the same "
                f"way, without the {which} farthest from the others (F test)"
            )
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

    return compare(tonight, past)
