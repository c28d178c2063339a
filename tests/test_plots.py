"""What is drawn of scores, and that each plot says what it was given."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from garments import report
from garments.report import plots

LABELS = ["coat", "dress", "shirt"]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """What has been drawn, in its order."""
    drawn: list[Figure] = []
    figure = plots._figure

    def kept(width: float, height: float) -> Figure:
        drawn.append(figure(width, height))
        return drawn[-1]

    monkeypatch.setattr(plots, "_figure", kept)
    return drawn


def size(path: Path) -> tuple[int, int]:
    with Image.open(path, formats=["PNG"]) as picture:
        return picture.size


def test_a_confusion_matrix_is_drawn_in_the_very_file_that_is_named(tmp_path: Path) -> None:
    names = {"matrix", "matrix.PNG", "matrix.svg"}
    for name in names:
        report.plot_confusion([[1]], LABELS[:1], tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == names
    assert size(tmp_path / "matrix") == size(tmp_path / "matrix.PNG")


def test_a_confusion_matrix_has_the_true_classes_as_rows(
    figures: list[Figure], tmp_path: Path
) -> None:
    counts = [[8, 0, 2], [0, 5, 0], [0, 1234, 0]]
    report.plot_confusion(counts, LABELS, tmp_path / "matrix.png")
    axes, _ = figures[0].axes  # and the bar of colours
    texts = {text.get_text(): text.get_position() for text in axes.texts}
    assert texts == {"8": (0, 0), "2": (2, 0), "5": (1, 1), "1,234": (1, 2)}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [tick.get_text() for tick in axes.get_yticklabels()] == LABELS
    assert axes.get_title() == "13 of 1,249 right"
    (shares,) = (image.get_array() for image in axes.images)
    assert np.asarray(shares) == pytest.approx(np.array([[0.8, 0, 0.2], [0, 1, 0], [0, 1, 0]]))
    assert size(tmp_path / "matrix.png") == (880, 770)


def test_learning_curves_are_those_of_the_history(figures: list[Figure], tmp_path: Path) -> None:
    history = {"loss": [3, 2], "val_loss": [4, 1], "accuracy": [0.1, 0.2], "val_accuracy": [0, 1]}
    report.plot_learning_curves(history, tmp_path / "curves.png")
    curves = {
        f"{axes.get_ylabel()}, {line.get_label()}": [*zip(*line.get_data(), strict=True)]
        for axes in figures[0].axes
        for line in axes.lines
    }
    assert curves == {
        "loss, training (altered pictures)": [(1, 3), (2, 2)],
        "loss, validation": [(1, 4), (2, 1)],
        "accuracy, validation": [(1, 0), (2, 1)],
    }
    assert size(tmp_path / "curves.png") == (1100, 440)


def test_reliability_is_the_share_right_at_each_confidence(
    figures: list[Figure], tmp_path: Path
) -> None:
    confidence = np.array([0.91, 0.92, 0.93, 0.94, 0.51, 0.52])
    right = np.array([True, True, True, False, True, False])
    report.plot_reliability(confidence, right, tmp_path / "reliability.png", bins=10)
    above, below = figures[0].axes
    means, shares = above.lines[1].get_data()  # the first is that of perfect calibration
    assert np.asarray(means) == pytest.approx([0.515, 0.925])
    assert np.asarray(shares) == pytest.approx([0.5, 0.75])
    bars = {round(bar.get_center()[0], 2): bar.get_height() for bar in below.patches}
    assert {middle: count for middle, count in bars.items() if count} == {0.55: 2, 0.95: 4}
    assert min(size(tmp_path / "reliability.png")) > 500


@pytest.mark.parametrize(
    ("threshold", "chosen"), [(0.75, [(50, 0)]), (0.6, [(100, 25)]), (2.0, [])]
)
def test_coverage_is_the_error_among_the_surest(
    threshold: float, chosen: list[tuple[float, float]], figures: list[Figure], tmp_path: Path
) -> None:
    confidence = np.array([0.6, 0.9, 0.7, 0.8])
    right = np.array([False, True, True, True])
    report.plot_coverage(confidence, right, threshold, 0.03, tmp_path / "coverage.png")
    curve, bound, *points = figures[0].axes[0].lines
    assert [*zip(*curve.get_data(), strict=True)] == [(25, 0), (50, 0), (75, 0), (100, 25)]
    assert {float(height) for height in bound.get_ydata()} == {3}
    assert [(*point.get_xdata(), *point.get_ydata()) for point in points] == chosen
    assert min(size(tmp_path / "coverage.png")) > 500
