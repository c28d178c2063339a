"""How good the answers were: scores, tables and plots."""

from garments.report.page import fill, table
from garments.report.plots import (
    plot_confusion,
    plot_coverage,
    plot_learning_curves,
    plot_reliability,
)
from garments.report.scores import (
    Scores,
    bootstrap_interval,
    expected_calibration_error,
    mcnemar,
    score,
    share_of,
)
from garments.report.text import as_text, percent, scores_of, seeds_as_text, spread

__all__ = [
    "Scores",
    "as_text",
    "bootstrap_interval",
    "expected_calibration_error",
    "fill",
    "mcnemar",
    "percent",
    "plot_confusion",
    "plot_coverage",
    "plot_learning_curves",
    "plot_reliability",
    "score",
    "scores_of",
    "seeds_as_text",
    "share_of",
    "spread",
    "table",
]
