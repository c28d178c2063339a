"""What answers for photos are worth, and from which confidence on they are accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from garments import report
from garments.bounds import error_bound
from garments.dataset import LABELS
from garments.training.batches import Rows
from garments.training.calibrate import choose_threshold, told_of
from garments.training.labelled import NONE_OF_TEN
from garments.training.learner import Floats

Truths = npt.NDArray[np.bool_]

MOST_ERROR = 0.03
# As likely as not: the answers that are counted are of networks that saw fewer photos than the one
# that is served.
_LEVEL = 0.5
CLASSES = (*LABELS, "none of these")


@dataclass(frozen=True)
class Judged:
    """Answers for photos by networks that were trained on other contributors' photos."""

    probabilities: Floats
    """Those of the ten, as they are served, and that of none of them (n, 11)."""
    targets: Floats
    """Ones for what is right, zeros for the rest (n, 11)."""
    threshold: float
    pooled: dict[str, Any]
    """Scores over all photos; rates run from 0 to 1."""
    folds: list[dict[str, Any]]
    """Those of each fold, at the same temperature and threshold."""
    unknown: int = 0
    """Photos of which nobody knows who took them."""

    @property
    def chosen_by(self) -> str:
        """How the threshold was chosen."""
        but = f" as far as is known, which it is not of {self.unknown:,}," if self.unknown else ""
        rule = (
            f"confidence from which on answers for {len(self.targets):,} photos, none "
            f"by a contributor trained on,{but} err at most {MOST_ERROR:.0%}, photos of none of "
            "the ten among them, by the median bound of Clopper and Pearson"
        )
        return told_of(self.threshold, rule)

    def as_text(self) -> str:
        """The scores for a terminal: the mean over the folds, and how far these differ."""
        titles = {
            "accuracy": "right of the ten",
            "accepted": "accepted of these",
            "accepted_accuracy": "right of the accepted",
            "none_accepted": "accepted of none of the ten",
        }
        lines = [f"{len(self.folds)} folds of contributors: mean ± standard deviation"]
        lines += [
            f"{title:28}{report.spread([fold[name] for fold in self.folds])}"
            for name, title in titles.items()
        ]
        if self.unknown:
            lines.append(
                f"of {self.unknown:,} photos it is not known who took them: where one person took "
                "several, all of this is too good"
            )
        lines += ["", f"{'':12} right  accepted  right of these   count"]
        for label, found in self.pooled["per_class"].items():
            shares = (found["accuracy"], found["accepted"], found["accepted_precision"])
            told = ["–" if share is None else f"{share:.1%}" for share in shares]
            lines.append(f"{label:12}{told[0]:>7}{told[1]:>10}{told[2]:>16}{found['count']:8,}")
        return "\n".join(lines)

    def confusion(self) -> list[list[int]]:
        """True class (rows), likeliest of all eleven (columns).

        The predicted class counts as the true one where it is among the right ones, else the
        likeliest of these.
        """
        predicted = self.probabilities.argmax(axis=1)
        truth = np.where(self.targets > 0, self.probabilities, -1).argmax(axis=1)
        shown = np.ones(len(truth), np.bool_)
        return report.score(truth, predicted, shown, len(CLASSES)).confusion


def judge(
    probabilities: Floats, targets: Floats, folds: Sequence[Rows], unknown: int = 0
) -> Judged:
    """Choose the threshold, and score all answers and those of each of the `folds`.

    `probabilities` (n, 11) are calibrated; `targets` (n, 11) have ones for the classes that are
    right. The last of both is for none of the ten. Of `unknown` photos nobody knows who took them.
    """
    confidence, right, _ = _answers(probabilities, targets)
    threshold = choose_threshold(confidence, right, MOST_ERROR, _LEVEL)
    pooled = scores(probabilities, targets, threshold)
    pooled["per_class"] = _per_class(probabilities, targets, threshold)
    of_folds = [scores(probabilities[rows], targets[rows], threshold) for rows in folds]
    return Judged(probabilities, targets, threshold, pooled, of_folds, unknown)


def enough(photos: int) -> bool:
    """Whether answers for so many photos of the ten could be accepted, were all of them right."""
    return error_bound(0, photos, _LEVEL) <= MOST_ERROR


def scores(probabilities: Floats, targets: Floats, threshold: float) -> dict[str, Any]:
    """How many photos of the ten are answered rightly, and what is accepted.

    The answer is the likeliest of the ten; its confidence is its probability, of which a photo
    of none of them leaves little.
    """
    confidence, right, of_ten = _answers(probabilities, targets)
    accepted = confidence >= threshold
    likelihood = (probabilities * targets).sum(axis=1)
    return {
        "count": int(of_ten.sum()),
        "accuracy": report.share_of(right[of_ten]),
        "loss": float(-np.log(np.maximum(likelihood, 1e-12)).mean()),
        "expected_calibration_error": report.expected_calibration_error(confidence, right),
        "accepted": report.share_of(accepted[of_ten]),
        "accepted_accuracy": report.share_of(right[of_ten & accepted]),
        "none_count": int((~of_ten).sum()),
        "none_accepted": report.share_of(accepted[~of_ten]),
    }


def accuracy_of(probabilities: Floats, targets: Floats) -> dict[str, Any]:
    """How many answers are right, where all have a right one."""
    return {"count": len(targets), "accuracy": report.share_of(_answers(probabilities, targets)[1])}


def _answers(probabilities: Floats, targets: Floats) -> tuple[Floats, Truths, Truths]:
    """Confidence, whether the answer is right, and whether there is a right one; all (n,)."""
    ten = probabilities[:, :NONE_OF_TEN]
    right = targets[np.arange(len(ten)), ten.argmax(axis=1)] > 0
    return ten.max(axis=1), right, targets[:, NONE_OF_TEN] == 0


def _per_class(probabilities: Floats, targets: Floats, threshold: float) -> dict[str, Any]:
    """The scores of each class by its label: how many photos are of it, the share of these that is
    answered rightly and that is accepted, and how many of the answers that name it are right.

    A photo of several classes counts for each of them. One of none of the ten counts as wrong only
    among the accepted, as in what is promised of them.
    """
    confidence, right, of_ten = _answers(probabilities, targets)
    named = probabilities[:, :NONE_OF_TEN].argmax(axis=1)
    accepted = confidence >= threshold
    found = {}
    for number, label in enumerate(LABELS):
        own = targets[:, number] > 0
        found[label] = {
            "count": int(own.sum()),
            "accuracy": report.share_of(right[own]),
            "accepted": report.share_of(accepted[own]),
            "precision": report.share_of(right[of_ten & (named == number)]),
            "accepted_precision": report.share_of(right[accepted & (named == number)]),
        }
    return found


def draw(judged: Judged, folder: Path) -> None:
    """The plots of a model folder."""
    confidence, right, _ = _answers(judged.probabilities, judged.targets)
    report.plot_confusion(judged.confusion(), CLASSES, folder / "confusion_matrix.png")
    report.plot_reliability(confidence, right, folder / "reliability.png")
    report.plot_coverage(confidence, right, judged.threshold, MOST_ERROR, folder / "coverage.png")
