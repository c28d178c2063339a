"""Small plots over nights, as the numbers that a template draws them from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 240.0, 64.0
_EDGE = 4.0  # so that no line is cut


@dataclass(frozen=True)
class Plot:
    """One quantity, night by night; the oldest first."""

    title: str
    values: Sequence[float | None]
    """None for a night that has none."""
    days: Sequence[str]
    told: Callable[[float], str]
    """How a value is written."""
    least: float | None = None
    most: float | None = None
    """What the axis ends at; by default the extremes of the values, and nought."""

    @property
    def known(self) -> list[float]:
        return [value for value in self.values if value is not None]

    @property
    def latest(self) -> str:
        """The value of the last night, which may have none."""
        last = self.values[-1] if self.values else None
        return "–" if last is None else self.told(last)

    @property
    def range(self) -> str:
        """The lowest and the highest value, where there is more to tell than the last."""
        if not self.known:
            return ""
        low, high = self.told(min(self.known)), self.told(max(self.known))
        told = low if low == high else f"{low} to {high}"
        return "" if told == self.latest else told

    @property
    def description(self) -> str:
        """What the plot shows, for those who do not see it."""
        told = [
            f"{day} {self.told(value)}"
            for day, value in zip(self.days, self.values, strict=True)
            if value is not None
        ]
        return "; ".join(told) or "no night has it"

    @property
    def lines(self) -> list[str]:
        """The points of each unbroken line, as SVG has them."""
        lines: list[list[str]] = [[]]
        for point in self._points():
            if point is None:
                lines.append([])
            else:
                lines[-1].append(f"{point[0]:.1f},{point[1]:.1f}")
        return [" ".join(line) for line in lines if line]

    @property
    def end(self) -> tuple[float, float] | None:
        """Where the last value is drawn."""
        known = [point for point in self._points() if point is not None]
        return known[-1] if known else None

    def _points(self) -> list[tuple[float, float] | None]:
        low = self.least if self.least is not None else min([*self.known, 0.0])
        high = self.most if self.most is not None else max(self.known, default=1.0)
        span, steps = (high - low) or 1.0, max(len(self.values) - 1, 1)
        # A single night stands at the right, where the last one is.
        first = 0 if len(self.values) > 1 else steps
        return [
            None
            if value is None
            else (
                _EDGE + (WIDTH - 2 * _EDGE) * (place + first) / steps,
                HEIGHT - _EDGE - (HEIGHT - 2 * _EDGE) * (value - low) / span,
            )
            for place, value in enumerate(self.values)
        ]
