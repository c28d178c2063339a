"""The nightly client: find the images, have them classified, write `predictions.csv`."""

from garments.batch.client import ServiceError, UsageError
from garments.batch.night import Counts, run

__all__ = ["Counts", "ServiceError", "UsageError", "run"]
