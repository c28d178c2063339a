"""The nightly client: find the images, have them classified, write `predictions.csv`."""

from garments.batch.errors import (
    CODES,
    AfterwardsError,
    ReconcileError,
    ServiceError,
    UsageError,
    explain,
)
from garments.batch.night import Counts, run

__all__ = [
    "CODES",
    "AfterwardsError",
    "Counts",
    "ReconcileError",
    "ServiceError",
    "UsageError",
    "explain",
    "run",
]
