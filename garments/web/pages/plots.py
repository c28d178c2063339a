"""Small plots over nights, as the numbers that a template draws them from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 240.0, 64.0
_EDGE = 4.0  # so that no line is cut

_Point = tuple[float, float]


@dataclass(frozen=True)
class Plot:
    """One quantity, night by night; the oldest first."""

    title: str
    values: Sequence[float | None]
    """None for a night that has none."""
    days: Sequence[str]
    told: Callable[[float], str]
    """How a value is written."""
    most: float | None = None
    """What the axis ends at; by default the largest value. It begins at nought, or below it."""

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
        lines = [line for line in self._unbroken() if len(line) > 1]
        return [" ".join(f"{x:.1f},{y:.1f}" for x, y in line) for line in lines]

    @property
    def alone(self) -> list[_Point]:
        """Where a value is drawn that no line reaches, between nights that have none."""
        return [line[0] for line in self._unbroken() if len(line) == 1]

    @property
    def end(self) -> _Point | None:
        """Where the value of the last night is drawn, if it has one."""
        points = self._points()
        return points[-1] if points else None

    def _unbroken(self) -> list[list[_Point]]:
        lines: list[list[_Point]] = [[]]
        for point in self._points():
            if point is None:
                lines.append([])
            else:
                lines[-1].append(point)
        return lines

    def _points(self) -> list[_Point | None]:
        low = min([0.0, *self.known])
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
