"""What a request has to know of the process that answers it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from flask import Request

UNTIL = "garments.until"
"""Where the environ of a request has the time.monotonic() at which it must be answered."""
OUT_OF_TIME = "this took longer than a request may: try again, or send fewer pictures at a time"


@dataclass
class Lifecycle:
    """Where a worker is between its start and its end."""

    draining: bool = False
    """The service still serves, but is about to stop."""
    leaving: bool = False
    """The worker is about to stop, so that its answers close their connections."""


def time_limit(request: Request) -> float:
    """The `time.monotonic()` at which `request` must be answered."""
    return float(request.environ.get(UNTIL, math.inf))
