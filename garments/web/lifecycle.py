"""What a request has to know of the process that answers it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Lifecycle:
    """Where a worker is between its start and its end."""

    draining: bool = False
    """The service still serves, but is about to stop."""
    leaving: bool = False
    """The worker is about to stop, so that its answers close their connections."""
