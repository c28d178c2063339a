"""What can end a night, with which exit code, and what the log says of it."""

from collections.abc import Mapping
from pathlib import Path

from garments.settings import SettingsError
from garments.store import Busy, StoreError


class UsageError(Exception):
    """The client is used or set up in a way that trying again cannot help; the text says how."""


class ServiceError(Exception):
    """The service cannot be reached, gave up or cannot be relied on; the text says which."""


class ReconcileError(Exception):
    """Photos and answers do not add up; the text names the first photo that is amiss."""


class AfterwardsError(Exception):
    """The table is written, but what comes after it failed; the text says what."""


CODES: Mapping[type[BaseException], int] = {
    SettingsError: 2,
    UsageError: 2,
    StoreError: 2,
    AfterwardsError: 2,
    ServiceError: 3,
    ReconcileError: 3,
    Busy: 4,
    KeyboardInterrupt: 130,
}
"""The exit code that each stands for; README.md explains them."""


def explain(error: BaseException, output: Path | str) -> str:
    """What the log says of a night that `error` ended: why, and what became of its table."""
    afterwards = isinstance(error, AfterwardsError | KeyboardInterrupt) and str(error)
    interrupted = isinstance(error, KeyboardInterrupt)
    why = str(error) or ("interrupted" if interrupted else repr(error))
    return afterwards or f"{why}; {output} was not written"
