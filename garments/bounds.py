"""What is sure: of errors, of where to accept from, and of what is none of the classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_STEPS = 100
_ONE_WRONG = 1.6  # times as many answers as where none is wrong are enough where one is


class Accepted(NamedTuple):
    """The answers from a confidence on: how many there were, and how many of them wrong."""

    confidence: float
    answers: int
    wrong: int


def error_bound(errors: int, count: int, level: float = 0.95) -> float:
    """The upper bound of an error rate, one-sided at `level`.

    Clopper and Pearson, Biometrika 26, 1934.
    """
    # Not above: a service imports this, and needs it only for a page. Not scipy.stats, which
    # loads much later.
    from scipy.special import betaincinv

    return 1.0 if errors >= count else float(betaincinv(errors + 1, count - errors, level))


def accepted_from(
    confidences: Sequence[float], correct: Sequence[bool], most: float, level: float = 0.95
) -> Accepted | None:
    """The most answers that err at most `most`, by `error_bound`, and where they begin.

    Takes the confidence of each answer and whether it was right. None where no confidence keeps
    the promise.
    """
    ranked = sorted(zip(confidences, correct, strict=True))
    count, wrong = len(ranked), sum(not right for right in correct)
    last = float("-inf")
    for confidence, right in ranked:
        # Answers of equal confidence are accepted together or not at all.
        if confidence > last and error_bound(wrong, count, level) <= most:
            return Accepted(confidence, count, wrong)
        last = confidence
        count, wrong = count - 1, wrong - (not right)
    return None


def accepted_downwards(
    confidences: Sequence[float], correct: Sequence[bool], most: float, level: float = 0.95
) -> Accepted | None:
    """The most answers that surely err at most `most`, though many beginnings were tried.

    `accepted_from` takes any confidence whose bound is low enough, and of many that are tried one
    is by luck. Here they are tried from the surest answers down, a hundredth of all at a time,
    until the first fails: then all that passed keep the promise together at `level` (fixed
    sequence testing; Angelopoulos and others, "Learn then test", 2021, arXiv:2110.01052). Where to
    begin depends on how many answers there are and not on which are right: at so many that one may
    be wrong, so that one slip of whoever looked does not end it, or at all if there are fewer.
    Takes and returns what `accepted_from` does.
    """
    ranked = sorted(zip(confidences, correct, strict=True), reverse=True)
    enough = _ONE_WRONG * math.log(1 - level) / math.log(1 - most)
    first, every = min(math.ceil(enough), len(ranked)), max(1, len(ranked) // _STEPS)
    found, count, wrong = None, 0, 0
    for least in (*range(first, len(ranked), every), len(ranked)):
        # Answers of equal confidence are accepted together or not at all.
        while count < len(ranked) and (count < least or ranked[count][0] == ranked[count - 1][0]):
            wrong += not ranked[count][1]
            count += 1
        if error_bound(wrong, count, level) > most:
            break
        found = Accepted(ranked[count - 1][0], count, wrong)
    return found


def none_at_least(likeliest: Sequence[float], classes: int) -> float:
    """How likely it at least is none of the `classes`; below 0 it bounds nothing.

    Takes the probabilities of the likeliest classes, the largest first, where no more of an answer
    is kept: none of the others is likelier than the last, and what no class has is for none.
    """
    least = min(likeliest, default=1.0)
    return 1 - sum(likeliest) - (classes - len(likeliest)) * least
