"""Scores as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from garments.report.scores import Scores


def as_text(scores: Scores, labels: Sequence[str]) -> str:
    """The scores as a table for a terminal, with the confusion matrix below it.

    A dash stands for a rate of nothing: there is no file of the class, or no answer names it.
    """
    width = max(len(label) for label in labels)
    lines = [
        f"accuracy  {scores.accuracy:.2%}  ({scores.right:,} of {scores.count:,})",
        f"accepted  {scores.accepted_share:.2%}  ({scores.accepted:,} of {scores.count:,})",
    ]
    if scores.accepted_accuracy is not None:
        lines[-1] += f", of which {scores.accepted_accuracy:.2%} right"
    lines += ["", f"{'':{width}}  precision  recall      f1   count"]
    answered = np.sum(scores.confusion, axis=0)
    for number, label in enumerate(labels):
        support = scores.support[number]
        precision = _rate(scores.precision[number], of=answered[number])
        recall, f1 = (_rate(rates[number], of=support) for rates in (scores.recall, scores.f1))
        lines.append(f"{label:{width}}  {precision:>9}  {recall:>6}  {f1:>6}  {support:6,}")
    cell = max(5, *(len(f"{count:,}") + 1 for row in scores.confusion for count in row))
    lines += ["", "true class (rows), predicted class (columns)"]
    lines.append(f"{'':{width + 2}}" + "".join(f"{number:{cell}}" for number in range(len(labels))))
    lines += [
        f"{number} {label:{width}}" + "".join(f"{count:{cell},}" for count in row)
        for number, (label, row) in enumerate(zip(labels, scores.confusion, strict=True))
    ]
    return "\n".join(lines)


def _rate(rate: float, *, of: int) -> str:
    return f"{rate:.1%}" if of else "–"


def seeds_as_text(runs: Sequence[Mapping[str, Any]]) -> str:
    """The scores of a card's `runs`: the mean, and of several the standard deviation."""
    several = f"{len(runs)} seeds: mean ± standard deviation"
    lines = [several if len(runs) > 1 else f"seed {runs[0]['seed']}"]
    lines += [f"{title:26} {spread(values)}" for title, values in scores_of(runs).items()]
    return "\n".join(lines)


def scores_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """The scores that are told of every one of a card's `runs`, by title, in their order."""
    return {
        title: [run[part][name] for run in runs]
        for title, part, name in (
            ("validation accuracy", "validation", "accuracy"),
            ("test accuracy", "scores", "accuracy"),
            ("expected calibration error", "scores", "expected_calibration_error"),
            ("accepted", "scores", "accepted"),
            ("right of the accepted", "scores", "accepted_accuracy"),
        )
    }


def percent(share: float | None, digits: int = 2) -> str:
    """A rate in per cent, with so many `digits` after the point; a dash for None."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def spread(values: Sequence[float | None]) -> str:
    """The mean of rates, in per cent, and the standard deviation where there are several."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "–"
    deviation = f" ± {np.std(known, ddof=1):.2f}" if len(known) > 1 else ""
    return f"{np.mean(known):.2f}{deviation} %"
