"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Iterator

LONGEST_PAUSE = 30.0  # seconds


def growing_pauses(first: float, longest: float) -> Iterator[float]:
    """Seconds to wait before each next try: up to a bound that doubles, by chance.

    After the "full jitter" of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture
    Blog 2015, but never next to nothing.
    """
    bound = first
    while True:
        yield random.uniform(first / 2, bound)  # noqa: S311 (spreads load, guards nothing)
        bound = min(longest, bound * 2)
