"""The table of a night: every photo once, or none of it."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from garments.batch.errors import ReconcileError
from garments.batch.findings import Findings, paired
from garments.batch.review_order import rank_of
from garments.batch.state import Night
from garments.morning.page import CONFIDENCE_BINS, MOST_SHOWN, surely_none
from garments.predictions import NONE, Row
from garments.store import Outcome

_MOVED_AT_ONCE = 1_000
_SURER_THAN_ANY_MODEL = -2.0
_BEFORE_ALL_OTHERS = -4.0


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
        if len(self._heap) < MOST_SHOWN:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def __iter__(self) -> Iterator[Outcome]:
        """The few, the lowest rank first."""
        return (outcome for *_, outcome in sorted(self._heap, reverse=True))


@dataclass
class Distribution:
    """How photos were answered."""

    classes: list[int]
    confidences: list[int] = field(default_factory=lambda: [0] * CONFIDENCE_BINS)
    _sum: float = 0.0

    def add(self, prediction: int, confidence: float) -> None:
        """Count one more."""
        self.classes[prediction] += 1
        self.confidences[min(int(confidence * CONFIDENCE_BINS), CONFIDENCE_BINS - 1)] += 1
        self._sum += confidence

    @property
    def confidence(self) -> float | None:
        """The mean; None of nothing."""
        count = sum(self.classes)
        return self._sum / count if count else None


class Table:
    """The rows of a night, and what they add up to once all of them have been taken."""

    def __init__(self, labels: Sequence[str], night: Night) -> None:
        self.labels = labels
        self.night = night
        self.decisions: Counter[str] = Counter()
        self.all, self.new = Distribution([0] * len(labels)), Distribution([0] * len(labels))
        """The model's answers, whatever people have said since."""
        self.classes, self.none = [0] * len(labels), 0
        """How many rows are of each class, and of none, by a person's answer where there is one."""
        self.none_likelier = 0
        """How many rows for review have a class, though it is likelier that they are of none."""
        self.model_accepts = 0
        """How many of `all` the model accepted, whatever people have said since."""
        self.unreadable_new = 0
        self.review, self.unreadable, self.mismatched = Least(), Least(), Least()
        self.undrawn = Least()
        """Of those mismatched the first that people cannot look at yet."""
        self._moved: list[tuple[bytes, float | None]] = []

    def rows(self, findings: Findings) -> Iterator[Row]:
        """A row for every photo of `findings` but those that the night left, sorted by name.

        On the way each photo gets its rank in the queue for people, or leaves it.
        Raises ReconcileError where one has no answer, and StoreError.
        """
        outcomes = self.night.store.outcomes(self.night.directory, self.night.model)
        for name, found, outcome in paired(findings, outcomes):
            # Photos that are known but were not found cannot be in the table.
            if not found or name in self.night.left:
                continue
            if not outcome:
                raise self._lost(name)
            rank = rank_of(outcome, self.night.settings.review_sample)
            if rank != outcome.waiting:
                self._moved.append((name, rank))
                if len(self._moved) >= _MOVED_AT_ONCE:
                    self._move()
            yield self.row_of(outcome)
        self._move()

    def _move(self) -> None:
        if self._moved:
            self.night.store.wait(self.night.directory, self._moved)
            self._moved = []

    def row_of(self, outcome: Outcome) -> Row:
        """The row of one photo, which counts from now on. Raises ReconcileError if it has none."""
        filename = os.fsdecode(outcome.name)
        expected = "" if outcome.expected is None else self.labels[outcome.expected]
        if outcome.decision in ("accept", "review"):
            number, confidence = outcome.prediction, outcome.confidence
            if number is None or confidence is None or not 0 <= number < len(self.labels):
                raise self._lost(outcome.name)
            # All of these tell of the model, whatever a person says of its answer.
            self.all.add(number, confidence)
            self.model_accepts += outcome.decision == "accept"
            if outcome.new_in > self.night.new_after:
                self.new.add(number, confidence)
            if not outcome.reviewed:
                return self._answered(outcome, filename, number, confidence, expected)
        if outcome.reviewed:
            return self._reviewed(outcome, filename, expected)
        if not outcome.problem:
            raise self._lost(outcome.name)
        self.unreadable.add(outcome)
        self.unreadable_new += outcome.new_in > self.night.new_after
        self.decisions["unreadable"] += 1
        return Row(filename, expected=expected, error=outcome.problem)

    def _answered(
        self, outcome: Outcome, filename: str, number: int, confidence: float, expected: str
    ) -> Row:
        decision = str(outcome.decision)
        if decision == "review":
            self.review.add(outcome, confidence)
            if surely_none(outcome.top or (), len(self.labels)) is not None:
                self.none_likelier += 1
        elif outcome.expected not in (None, number):
            self._mismatched(outcome, -confidence)
        self.decisions[decision] += 1
        self.classes[number] += 1
        label, model = str(outcome.label), str(outcome.model)
        return Row.answered(filename, number, label, confidence, decision, model, expected)

    def _reviewed(self, outcome: Outcome, filename: str, expected: str) -> Row:
        """The row of a person's answer, which has no confidence."""
        if outcome.expected not in (None, outcome.answer):
            self._mismatched(outcome, _SURER_THAN_ANY_MODEL)
        self.decisions["reviewed"] += 1
        if outcome.answer is None:
            self.none += 1
        else:
            self.classes[outcome.answer] += 1
        return Row(
            filename=filename,
            prediction="" if outcome.answer is None else str(outcome.answer),
            label=self.named(outcome.answer),
            decision="reviewed",
            model=str(outcome.model),
            expected=expected,
        )

    def _mismatched(self, outcome: Outcome, rank: float) -> None:
        # There may be more than are shown, of many nights, and some of which there is no drawing:
        # those that are new come first.
        rank += _BEFORE_ALL_OTHERS * (outcome.new_in > self.night.new_after)
        self.mismatched.add(outcome, rank)
        if not outcome.reviewed and not outcome.drawn:
            self.undrawn.add(outcome, rank)

    def named(self, answer: int | None) -> str:
        """The label of a person's answer."""
        return NONE if answer is None else self.labels[answer]

    @staticmethod
    def _lost(name: bytes) -> ReconcileError:
        return ReconcileError(
            f"{os.fsdecode(name)!r} was found, but has no answer in the database: run the night "
            "again; if that does not help, with --fresh"
        )
