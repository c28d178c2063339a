"""The moment at which a request must be answered."""

from __future__ import annotations

import math

from flask import Request

UNTIL = "garments.until"
"""Where the environ of a request has that moment, in the seconds of time.monotonic()."""


def time_limit(request: Request) -> float:
    """The `time.monotonic()` at which `request` must be answered; infinite if nobody set one."""
    return float(request.environ.get(UNTIL, math.inf))
