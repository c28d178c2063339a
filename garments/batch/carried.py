"""Photos that a night archived before it was cut short: the next table still has to name them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from garments.batch.findings import Findings, paired
from garments.batch.state import Night
from garments.batch.table import Table
from garments.predictions import Row
from garments.store import Outcome


class Carried:
    """The rows of photos that are gone since a night wrote them into a table and did not end."""

    def __init__(self, labels: Sequence[str], night: Night) -> None:
        self.count = 0
        """How many there are, once all have been taken."""
        self._night = night
        self._table = Table(labels, night)

    def rows(self, findings: Findings) -> Iterator[Row]:
        """Sorted by name, with the last answer that each has. Raises StoreError."""
        for outcome in self._gone(findings):
            # What could not be read was not archived: whoever took it away had seen to it.
            if outcome.prediction is not None:
                self.count += 1
                yield self._table.row_of(outcome)

    def gone(self, findings: Findings) -> Iterator[bytes]:
        """Their names, to be forgotten as the night ends with their rows. Raises StoreError.

        Those that wait for people do so in the archive.
        """
        return (outcome.name for outcome in self._gone(findings))

    def _gone(self, findings: Findings) -> Iterator[Outcome]:
        """What is known of photos that were not found, sorted by name."""
        known = self._night.store.last_outcomes(self._night.directory)
        for _, found, outcome in paired(findings, known):
            if outcome and not found:
                yield outcome
