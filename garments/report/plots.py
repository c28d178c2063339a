"""Scores as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import binomtest

from garments.report.scores import bins_of, expected_calibration_error


def plot_confusion(
    confusion: Sequence[Sequence[int]],
    labels: Sequence[str],
    path: Path,
    right_of: tuple[int, int] | None = None,
    form: str | None = None,
) -> None:
    """Draw the confusion matrix: shares of each row as colour, counts as numbers.

    The ending of `path` tells the format where `form` does not; without either it is a PNG.
    `right_of` is how many of how many answers were right, where some named no class and so have no
    column; else those of the matrix are all.
    """
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
    right, total = right_of or (int(np.trace(counts)), int(counts.sum()))
    axes.set_title(f"{right:,} of {total:,} right")
    colours = figure.colorbar(drawn, label="share of the true class", shrink=0.8)
    colours.set_ticks(
        [0, 0.01, 0.05, 0.2, 0.5, 1], labels=["0", "1 %", "5 %", "20 %", "50 %", "100 %"]
    )
    # Told here, else a name without an ending would be given one.
    figure.savefig(path, format=form or path.suffix[1:] or "png")


def plot_learning_curves(history: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw loss and accuracy an epoch, on what was fitted and on what was held out."""
    figure = _figure(10, 4)
    drawn = {
        "loss": {"loss": "training (altered pictures)", "val_loss": "validation"},
        "accuracy": {"val_accuracy": "validation"},
    }
    for place, (name, lines) in enumerate(drawn.items(), start=1):
        axes = figure.add_subplot(1, 2, place)
        for key, label in lines.items():
            axes.plot(range(1, len(history[key]) + 1), history[key], label=label)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)


def plot_reliability(
    confidence: npt.NDArray[np.floating], right: npt.NDArray[np.bool_], path: Path, bins: int = 15
) -> None:
    """Draw how often answers of each confidence were right, and how many there were of them.

    Takes the `confidence` (n,) of each answer, and whether it was `right` (n,).
    """
    place = bins_of(confidence, bins)
    counts = np.bincount(place, minlength=bins)
    filled = counts > 0
    total, hits = counts[filled], np.bincount(place[right], minlength=bins)[filled]
    mean = np.bincount(place, confidence, minlength=bins)[filled] / total
    share = hits / total
    each = zip(hits.tolist(), total.tolist(), strict=True)
    least, most = np.transpose([binomtest(k, n).proportion_ci() for k, n in each])
    margin = (share - least, most - share)
    figure = _figure(6, 6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color="grey", linewidth=1, label="perfect calibration")
    above.errorbar(mean, share, margin, fmt="o", capsize=3, label="answers, with 95 % margins")
    above.set_ylabel("share right")
    above.legend(loc="lower right")
    above.set_title(
        f"expected calibration error {expected_calibration_error(confidence, right, bins):.2%}"
    )
    below.bar((np.arange(bins) + 0.5) / bins, counts, 0.9 / bins)
    below.set_yscale("log")
    below.set_ylabel("answers")
    below.set_xlabel("confidence")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.savefig(path)


def plot_coverage(
    confidence: npt.NDArray[np.floating],
    right: npt.NDArray[np.bool_],
    threshold: float,
    most: float,
    path: Path,
) -> None:
    """Draw the error among the surest answers against how many are accepted.

    Takes the `confidence` (n,) of each answer, and whether it was `right` (n,). `most` is the share
    of wrong ones that the threshold was to keep.
    """
    order = np.argsort(-confidence, kind="stable")
    accepted = np.arange(1, len(order) + 1) / len(order)
    error = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    chosen = int((confidence >= threshold).sum())
    figure = _figure(6.5, 5)
    axes = figure.add_subplot()
    axes.plot(100 * accepted, 100 * error)
    axes.axhline(
        100 * most, color="grey", linewidth=1, linestyle="--", label=f"{100 * most:g} % wrong"
    )
    if chosen:
        place = (100 * accepted[chosen - 1], 100 * error[chosen - 1])
        text = f"the card's threshold: {place[0]:.1f} % accepted, {place[1]:.2f} % of them wrong"
        axes.plot(*place, "o", label=text)
    axes.set_xlabel("accepted, surest first (%)")
    axes.set_ylabel("wrong among the accepted (%)")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    figure.savefig(path)


def _figure(width: float, height: float) -> Figure:
    """A figure of its own canvas, so that drawing needs no display and leaves no global state."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
