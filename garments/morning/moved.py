"""How the shares of classes and of confidences moved against the nights before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from garments.morning import drift

SURE = 0.9
_MOST_NAMED = 3


@dataclass(frozen=True)
class Change:
    """The share of one category."""

    name: str
    tonight: float
    before: float
    nights: list[float]
    """Night by night, tonight the last."""

    @property
    def by(self) -> float:
        return self.tonight - self.before


class Moved:
    """The shares of all categories tonight, beside those of the nights before."""

    def __init__(
        self, names: Sequence[str], tonight: Sequence[int], earlier: Sequence[Sequence[int]]
    ) -> None:
        self.shift = drift.shift(tonight, earlier)
        nights = [_shares(counts) for counts in (*earlier, tonight)]
        pooled = _shares([sum(counts) for counts in zip(*earlier, strict=True)] or [0] * len(names))
        self.rows = [
            Change(name, nights[-1][index], pooled[index], [shares[index] for shares in nights])
            for index, name in enumerate(names)
        ]

    @property
    def warned(self) -> bool:
        return self.shift is not None and self.shift.shifted

    @property
    def farthest(self) -> list[Change]:
        """The categories that moved most, the farthest first; none that did not as far as shown."""
        rows = [row for row in self.rows if round(100 * row.by, 1)]
        return sorted(rows, key=lambda row: -abs(row.by))[:_MOST_NAMED]

    @property
    def sure(self) -> tuple[float, float]:
        """Of confidences: the share that is at least `SURE`, tonight and before."""
        rows = self.rows[round(SURE * len(self.rows)) :]
        return sum(row.tonight for row in rows), sum(row.before for row in rows)


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / max(sum(counts), 1) for count in counts]
