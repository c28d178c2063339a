"""The table of a night: every photo once, or none of it."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from garments.batch.errors import ReconcileError
from garments.batch.posting import Night
from garments.batch.walk import Findings
from garments.predictions import Row
from garments.store import Outcome

BINS = 20  # of confidence
SHOWN = 200  # photos of a kind that the report shows


class Least:
    """The few outcomes of many whose rank is the lowest, and how many there were."""

    def __init__(self) -> None:
        self.count = 0
        self._heap: list[tuple[float, int, Outcome]] = []
        self._order = count(0, -1)  # of equal ones, the first to come stay

    def add(self, outcome: Outcome, rank: float = 0.0) -> None:
        """Take in one more."""
        self.count += 1
        entry = (-rank, next(self._order), outcome)
        if len(self._heap) < SHOWN:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def __iter__(self) -> Iterator[Outcome]:
        """The few, the lowest rank first."""
        return (outcome for *_, outcome in sorted(self._heap, reverse=True))


@dataclass
class Tally:
    """How photos were answered."""

    classes: list[int]
    confidences: list[int] = field(default_factory=lambda: [0] * BINS)

    def add(self, prediction: int, confidence: float) -> None:
        """Count one more."""
        self.classes[prediction] += 1
        self.confidences[min(int(confidence * BINS), BINS - 1)] += 1


class Table:
    """The rows of a night, and what they add up to once all of them have been taken."""

    def __init__(self, labels: Sequence[str], night: Night) -> None:
        self.labels = labels
        self.night = night
        self.decisions: Counter[str] = Counter()
        self.all, self.new = Tally([0] * len(labels)), Tally([0] * len(labels))
        self.review, self.unreadable, self.mismatched = Least(), Least(), Least()

    def rows(self, findings: Findings) -> Iterator[Row]:
        """A row for every photo of `findings` but those that the night left, sorted by name.

        Raises ReconcileError where one has no answer, and StoreError.
        """
        outcomes = self.night.store.outcomes(self.night.directory, self.night.model)
        for name in findings.names():
            if name in self.night.left:
                continue
            # Photos that are known but were not found cannot be in the table.
            outcome = next((known for known in outcomes if known.name >= name), None)
            if outcome is None or outcome.name != name:
                raise self._lost(name)
            yield self._row(outcome)

    def _row(self, outcome: Outcome) -> Row:
        filename = os.fsdecode(outcome.name)
        expected = "" if outcome.expected is None else self.labels[outcome.expected]
        if outcome.decision in ("accept", "review"):
            number, confidence = outcome.prediction, outcome.confidence
            if number is None or confidence is None or not 0 <= number < len(self.labels):
                raise self._lost(outcome.name)
            self.all.add(number, confidence)
            if outcome.new_in == self.night.run:
                self.new.add(number, confidence)
            if outcome.decision == "review":
                self.review.add(outcome, confidence)
            elif outcome.expected not in (None, number):
                self.mismatched.add(outcome, -confidence)
            self.decisions[outcome.decision] += 1
            return Row.answered(
                filename,
                number,
                str(outcome.label),
                confidence,
                outcome.decision,
                str(outcome.model),
                expected,
            )
        if not outcome.problem:
            raise self._lost(outcome.name)
        self.unreadable.add(outcome)
        self.decisions["unreadable"] += 1
        return Row(filename, expected=expected, error=outcome.problem)

    @staticmethod
    def _lost(name: bytes) -> ReconcileError:
        return ReconcileError(
            f"{os.fsdecode(name)!r} was found, but has no answer in the database: run the night "
            "again; if that does not help, with --fresh"
        )
