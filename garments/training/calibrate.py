"""Make the confidence honest, and choose from which confidence on an answer is accepted."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from garments.bounds import accepted_from

Reals = npt.NDArray[np.floating]

MOST_ERROR = 0.01
_ACCEPTS_NOTHING = 2.0

log = logging.getLogger(__name__)


def losses_of(logits: Reals, targets: Reals) -> Reals:
    """How unlikely what is right is thought: -log of its summed probability, (n,).

    `targets` (n, classes) has ones for the classes that are right.
    """
    return np.asarray(-logsumexp(log_softmax(logits, axis=1), axis=1, b=targets))


def fit_temperature(logits: Reals, targets: Reals) -> float:
    """The divisor of `logits` (n, classes) that gives `targets` the highest likelihood.

    Temperature scaling of Guo et al., arXiv 1706.04599, section 4.2.
    """

    def loss(log_temperature: float) -> float:
        return float(losses_of(logits / np.exp(log_temperature), targets).mean())

    best = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(best.x))


def choose_threshold(
    confidence: Reals,
    correct: npt.NDArray[np.bool_],
    most_error: float = MOST_ERROR,
    level: float = 0.95,
) -> float:
    """The lowest confidence from which on answers err at most `most_error`, by `error_bound`.

    Takes the highest `confidence` (n,) of each answer and whether it was right. Where no
    threshold keeps the promise, it is above 1 and accepts nothing.
    """
    found = accepted_from(confidence.tolist(), correct.tolist(), most_error, level)
    if found:
        return found.confidence
    log.warning(
        "of %s answers at no confidence so few are wrong that at most %.0f %% can be promised: the "
        "model accepts nothing, all of its answers go to review; choose by more pictures",
        f"{len(confidence):,}",
        100 * most_error,
    )
    return _ACCEPTS_NOTHING


def told_of(threshold: float, rule: str) -> str:
    """How a threshold was chosen, by a `rule` that says from which confidence on."""
    return f"the lowest {rule}" if threshold <= 1 else f"nothing is accepted: there is no {rule}"
