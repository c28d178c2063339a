"""Make the confidence honest, and choose from which confidence on an answer is accepted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp
from scipy.stats import beta

Floats = npt.NDArray[np.floating]


def losses_of(logits: Floats, targets: Floats) -> Floats:
    """How unlikely what is right is thought: -log of its summed probability, (n,).

    `targets` (n, classes) has ones for the classes that are right.
    """
    return np.asarray(-logsumexp(log_softmax(logits, axis=1), axis=1, b=targets))


def fit_temperature(logits: Floats, targets: Floats) -> float:
    """The divisor of `logits` (n, classes) that gives `targets` the highest likelihood.

    Temperature scaling of Guo et al., arXiv 1706.04599, section 4.2.
    """

    def loss(log_temperature: float) -> float:
        return float(losses_of(logits / np.exp(log_temperature), targets).mean())

    best = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(best.x))


def error_bound(errors: int, count: int, level: float = 0.95) -> float:
    """The upper Clopper-Pearson bound of an error rate, one-sided at `level`."""
    if errors >= count:
        return 1.0
    return float(beta.ppf(level, errors + 1, count - errors))


def choose_threshold(
    confidence: Floats,
    correct: npt.NDArray[np.bool_],
    most_error: float = 0.01,
    level: float = 0.95,
) -> float:
    """The lowest confidence from which on answers err at most `most_error`, by `error_bound`.

    Takes the highest `confidence` (n,) of each answer and whether it was right. Where no
    threshold keeps the promise, 2.0 accepts nothing.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, errors = confidence[order], np.cumsum(~correct[order])
    for last in range(len(ranked) - 1, -1, -1):
        # Answers of equal confidence are accepted together or not at all.
        ends_a_tie = last + 1 == len(ranked) or ranked[last + 1] < ranked[last]
        if ends_a_tie and error_bound(int(errors[last]), last + 1, level) <= most_error:
            return float(ranked[last])
    return 2.0
