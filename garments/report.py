"""How good the answers were: scores, tables and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
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
        support=support.tolist(),
        confusion=confusion_matrix(truth, predicted, labels=numbers).tolist(),
    )


def expected_calibration_error(
    confidence: npt.NDArray[np.floating], right: npt.NDArray[np.bool_], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equally wide bins, weighted by count.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
    binning", AAAI 2015.
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def as_text(scores: Scores, labels: Sequence[str]) -> str:
    """The scores as a table for a terminal, with the confusion matrix below it."""
    width = max(len(label) for label in labels)
    lines = [
        f"accuracy  {scores.accuracy:.2%}  ({scores.right:,} of {scores.count:,})",
        f"accepted  {scores.accepted_share:.2%}  ({scores.accepted:,} of {scores.count:,})",
    ]
    if scores.accepted_accuracy is not None:
        lines[-1] += f", of which {scores.accepted_accuracy:.2%} right"
    lines += ["", f"{'':{width}}  precision  recall      f1   count"]
    lines += [
        f"{label:{width}}  {precision:9.1%}  {recall:6.1%}  {f1:6.1%}  {support:6,}"
        for label, precision, recall, f1, support in zip(
            labels, scores.precision, scores.recall, scores.f1, scores.support, strict=True
        )
    ]
    cell = max(5, *(len(f"{count:,}") + 1 for row in scores.confusion for count in row))
    lines += ["", "true class (rows), predicted class (columns)"]
    lines.append(f"{'':{width + 2}}" + "".join(f"{number:{cell}}" for number in range(len(labels))))
    lines += [
        f"{number} {label:{width}}" + "".join(f"{count:{cell},}" for count in row)
        for number, (label, row) in enumerate(zip(labels, scores.confusion, strict=True))
    ]
    return "\n".join(lines)


def plot_confusion(confusion: Sequence[Sequence[int]], labels: Sequence[str], path: Path) -> None:
    """Draw the confusion matrix as a PNG: shares of each row as colour, counts as numbers."""
    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = _figure(8, 7)
    axes = figure.add_subplot()
    # A root stretches the scale where the errors are; a straight one shows the diagonal alone.
    drawn = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.4, vmin=0, vmax=1))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.25 else "black"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    right, total = int(np.trace(counts)), int(counts.sum())
    axes.set_title(f"{right:,} of {total:,} right")
    colours = figure.colorbar(drawn, label="share of the true class", shrink=0.8)
    colours.set_ticks(
        [0, 0.01, 0.05, 0.2, 0.5, 1], labels=["0", "1 %", "5 %", "20 %", "50 %", "100 %"]
    )
    figure.savefig(path)


def plot_learning_curves(history: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw loss and accuracy an epoch, on what was fitted and on what was held out."""
    figure = _figure(10, 4)
    for place, name in enumerate(("loss", "accuracy"), start=1):
        axes = figure.add_subplot(1, 2, place)
        for key, label in ((name, "training (altered pictures)"), (f"val_{name}", "validation")):
            axes.plot(range(1, len(history[key]) + 1), history[key], label=label)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)


def _figure(width: float, height: float) -> Figure:
    """A figure of its own canvas, so that drawing needs no display and leaves no global state."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
