"""Make the confidence honest, and choose from which confidence on an answer is accepted."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_softmax, logsumexp
from scipy.stats import norm

from garments.bounds import accepted_from
from garments.card import ACCEPTS_NOTHING

Reals = npt.NDArray[np.floating]

MOST_ERROR = 0.01
LEVEL = 0.95
_LOG_TEMPERATURES = np.log(0.05), np.log(20.0)

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
    best = minimize_scalar(_loss(logits, targets), bounds=_LOG_TEMPERATURES, method="bounded")
    return float(np.exp(best.x))


def highest_temperature(logits: Reals, targets: Reals) -> float:
    """The highest divisor of `logits` (n, classes) that `targets` do not rule out at LEVEL.

    For a network that these very targets chose among several, and so flatter: with the likeliest
    temperature it would be too sure. By the ratio of likelihoods: Wilks, Annals of Mathematical
    Statistics 9, 1938.
    """
    loss = _loss(logits, targets)
    likeliest = np.log(fit_temperature(logits, targets))
    allowed = loss(likeliest) + norm.ppf(LEVEL) ** 2 / 2 / len(logits)
    if loss(_LOG_TEMPERATURES[1]) <= allowed:
        return float(np.exp(_LOG_TEMPERATURES[1]))
    return float(np.exp(brentq(lambda high: loss(high) - allowed, likeliest, _LOG_TEMPERATURES[1])))


def _loss(logits: Reals, targets: Reals) -> Callable[[float], float]:
    """The mean loss at the logarithm of a temperature."""
    return lambda log_temperature: float(
        losses_of(logits / np.exp(log_temperature), targets).mean()
    )


def choose_threshold(
    confidence: Reals,
    correct: npt.NDArray[np.bool_],
    most_error: float = MOST_ERROR,
    level: float = LEVEL,
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
    return ACCEPTS_NOTHING


def told_of(threshold: float, rule: str) -> str:
    """How a threshold was chosen, by a `rule` that says from which confidence on."""
    return f"the lowest {rule}" if threshold <= 1 else f"nothing is accepted: there is no {rule}"
