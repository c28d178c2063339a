"""Score a model folder as it will be served."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from garments import report
from garments.dataset import LABELS, Dataset
from garments.engine import Engine
from garments.training.duplicates import repeated
from garments.training.robustness import ALTERATIONS, altered


@dataclass(frozen=True)
class Answers:
    """What a model says of labelled pictures; everything has a row a picture."""

    labels: npt.NDArray[np.uint8]
    """(n,)"""
    probabilities: npt.NDArray[np.float32]
    """(n, classes)"""
    accepted: npt.NDArray[np.bool_]
    """Which need no look: (n,)."""

    @property
    def predicted(self) -> npt.NDArray[np.intp]:
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def confidence(self) -> npt.NDArray[np.float32]:
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.predicted == self.labels)

    @cached_property
    def scores(self) -> report.Scores:
        return report.score(self.labels, self.predicted, self.accepted, len(LABELS))


def ask(engine: Engine, dataset: Dataset) -> Answers:
    """Let the served model answer for every picture of `dataset`."""
    pictures = dataset.images[..., None]
    probabilities = engine.probabilities(pictures)
    return Answers(dataset.labels, probabilities, engine.accepted(pictures, probabilities))


def summary(answers: Answers) -> dict[str, Any]:
    """The scores that a card tells of every seed; rates run from 0 to 1."""
    rows = np.arange(len(answers.labels))
    likelihood = answers.probabilities[rows, answers.labels]
    return {
        "count": answers.scores.count,
        "accuracy": answers.scores.accuracy,
        "loss": float(-np.log(np.maximum(likelihood, 1e-12)).mean()),
        "expected_calibration_error": report.expected_calibration_error(
            answers.confidence, answers.right
        ),
        "accepted": answers.scores.accepted_share,
        "accepted_accuracy": answers.scores.accepted_accuracy,
    }


def evidence(engine: Engine, answers: Answers, test: Dataset, training: Dataset) -> dict[str, Any]:
    """What the card of the served model tells beside its summary: all that can be asked of it."""
    return {
        "expected_calibration_error_95": report.bootstrap_interval(
            report.expected_calibration_error, answers.confidence, answers.right
        ),
        "per_class": per_class(answers),
        "without_near_duplicates": _without_near_duplicates(answers, test, training),
        "altered": _altered(engine, test),
    }


def _altered(engine: Engine, test: Dataset) -> dict[str, float]:
    """The accuracy under each alteration; one is drawn while the engine answers for another."""

    def accuracy(name: str) -> float:
        return float(ask(engine, Dataset(altered(test.images, name), test.labels)).right.mean())

    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(ALTERATIONS, pool.map(accuracy, ALTERATIONS), strict=True))


def per_class(answers: Answers) -> dict[str, dict[str, float | None]]:
    """Scores of each class by its label; those of what was accepted are None if nothing was."""
    scores = answers.scores
    return {
        label: {
            "precision": scores.precision[number],
            "recall": scores.recall[number],
            "f1": scores.f1[number],
            "accepted": report.share_of(answers.accepted[answers.labels == number]),
            "accepted_precision": report.share_of(
                answers.right[answers.accepted & (answers.predicted == number)]
            ),
        }
        for number, label in enumerate(LABELS)
    }


def _without_near_duplicates(answers: Answers, test: Dataset, training: Dataset) -> dict[str, Any]:
    unseen = ~repeated(test.images, training.images)
    return {"count": int(unseen.sum()), "accuracy": report.share_of(answers.right[unseen])}
