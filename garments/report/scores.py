"""How good answers were, in numbers; rates run from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Scores:
    """What `score` found; lists have an entry a class, rates run from 0 to 1."""

    count: int
    right: int
    accepted: int
    accepted_right: int
    precision: list[float]
    recall: list[float]
    f1: list[float]
    support: list[int]
    confusion: list[list[int]]
    """Rows: the true class; columns: the predicted one."""

    @property
    def accuracy(self) -> float:
        return self.right / self.count

    @property
    def accepted_share(self) -> float:
        return self.accepted / self.count

    @property
    def accepted_accuracy(self) -> float | None:
        """None where nothing was accepted."""
        return self.accepted_right / self.accepted if self.accepted else None


def score(
    truth: Integers, predicted: Integers, accepted: npt.NDArray[np.bool_], classes: int
) -> Scores:
    """Compare `predicted` with `truth`, both (n,); `accepted` says which needed no look.

    A prediction that is no class, such as -1, is an answer that was not given: it is wrong.
    """
    numbers = list(range(classes))
    right = truth == predicted
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=numbers, zero_division=0.0
    )
    return Scores(
        count=len(truth),
        right=int(right.sum()),
        accepted=int(accepted.sum()),
        accepted_right=int(right[accepted].sum()),
        precision=precision.tolist(),
        recall=recall.tolist(),
        f1=f1.tolist(),
        support=support.astype(int).tolist(),  # floats where nothing is right
        confusion=confusion_matrix(truth, predicted, labels=numbers).tolist(),
    )


def expected_calibration_error(
    confidence: npt.NDArray[np.floating], right: npt.NDArray[np.bool_], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equally wide bins, weighted by count.

    Takes the `confidence` (n,) of each answer, and whether it was `right` (n,). Naeini, Cooper and
    Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    """
    gaps = np.bincount(bins_of(confidence, bins), confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def bins_of(confidence: npt.NDArray[np.floating], bins: int) -> npt.NDArray[np.int_]:
    """The bin, from 0, of each confidence; their upper edges belong to them."""
    return np.asarray(np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1), int)


def bootstrap_interval(statistic: Callable[..., float], *columns: npt.NDArray[Any]) -> list[float]:
    """The basic bootstrap interval of `statistic(*columns)`, a rate: 95 %, by 1,000 resamples.

    Davison and Hinkley, "Bootstrap methods and their application", 1997, section 5.2. It takes
    off what resampling adds to statistics such as a calibration error, which noise only raises.
    Takes columns (n,). Always the same for the same columns, and as narrow as can be for one row.
    """
    if len(columns[0]) == 1:
        return [statistic(*columns)] * 2
    found = bootstrap(
        columns,
        statistic,
        n_resamples=1_000,
        batch=1,  # all at once would take 200 MB for 10,000 rows
        vectorized=False,
        paired=True,
        method="basic",
        rng=np.random.default_rng(0),
    )
    return [float(np.clip(bound, 0, 1)) for bound in found.confidence_interval]


def share_of(which: npt.NDArray[np.bool_]) -> float | None:
    """The share of `which` (n,) that is true; None of nothing."""
    return float(which.mean()) if len(which) else None


def mcnemar(right: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> tuple[int, int, float]:
    """Compare two models on the same pictures: `right` and `other` (n,) say where each was right.

    Returns how often only the first was right, how often only the other, and the two-sided exact
    p-value of so uneven a split if both were equally good. Q. McNemar, Psychometrika 12, 1947.
    """
    first, second = int((right & ~other).sum()), int((other & ~right).sum())
    p = binomtest(first, first + second).pvalue if first + second else 1.0
    return first, second, float(p)
