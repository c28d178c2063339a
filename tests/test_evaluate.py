"""What a card says of its model: scores, near-duplicates and robustness."""

import numpy as np
import pytest

from garments import report
from garments.dataset import Dataset
from garments.engine import Engine
from garments.training.duplicates import repeated
from garments.training.evaluate import Answers, ask, evidence, per_class, summary
from garments.training.robustness import ALTERATIONS, altered

pytestmark = pytest.mark.slow  # training's package takes TensorFlow some seconds


@pytest.fixture
def answers() -> Answers:
    """Four answers: right and accepted, wrong and accepted, right, wrong."""
    probabilities = np.full((4, 10), 0.01, np.float32)
    probabilities[[0, 1, 2, 3], [3, 3, 6, 7]] = 0.91
    accepted = np.array([True, True, False, False])
    return Answers(np.array([3, 6, 6, 5], np.uint8), probabilities, accepted)


def test_the_summary_counts_what_is_right_and_what_is_accepted(answers: Answers) -> None:
    found = summary(answers)
    assert found["count"] == 4
    assert found["accuracy"] == 0.5
    assert found["accepted"] == found["accepted_accuracy"] == 0.5
    assert found["loss"] == pytest.approx(-(np.log(0.91) + np.log(0.01)) / 2, rel=1e-6)
    assert found["expected_calibration_error"] == pytest.approx(0.41, abs=1e-6)


def test_every_class_has_its_share_accepted_and_how_right_that_was(answers: Answers) -> None:
    found = per_class(answers)
    assert found["Dress"]["accepted"] == 1
    assert found["Dress"]["accepted_precision"] == 0.5
    assert found["Shirt"]["accepted"] == 0.5
    assert found["Shirt"]["accepted_precision"] is None
    assert found["Bag"]["accepted"] is None


def test_the_engine_is_asked_about_every_picture_in_order(engine: Engine, sample: Dataset) -> None:
    many = sample.take([*range(100)] * 6)
    found = ask(engine, many)
    assert len(found.right) == len(found.accepted) == 600
    assert np.allclose(found.probabilities[500:], found.probabilities[:100], atol=1e-6)
    assert found.right.mean() > 0.8


def test_the_evidence_covers_all_that_a_card_promises(engine: Engine, sample: Dataset) -> None:
    found = evidence(engine, ask(engine, sample), sample, sample.take(range(60)))
    assert found.keys() == {
        "expected_calibration_error_95",
        "per_class",
        "without_near_duplicates",
        "altered",
    }
    assert found["without_near_duplicates"]["count"] == 40
    assert found["altered"].keys() == ALTERATIONS.keys()


# Near-duplicates


def test_a_picture_is_found_again_mirrored_and_a_little_changed(sample: Dataset) -> None:
    pictures = sample.images[:20]
    noisy = np.clip(pictures + np.random.default_rng(0).normal(0, 3, pictures.shape), 0, 255)
    assert repeated(pictures, pictures).all()
    assert repeated(pictures[:, :, ::-1], pictures).all()
    assert repeated(noisy.astype(np.uint8), pictures).all()


def test_other_pictures_are_no_duplicates(sample: Dataset) -> None:
    assert not repeated(sample.images[:20], sample.images[20:]).any()


# Robustness


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_changes_pictures_a_little_and_always_alike(
    name: str, sample: Dataset
) -> None:
    before = sample.images[:20]
    after = altered(before, name)
    assert after.shape == before.shape
    assert after.dtype == np.uint8
    change = np.abs(after.astype(float) - before).mean()
    assert 1 < change < 40
    assert (altered(before, name) == after).all()


def test_a_zoom_keeps_the_middle_where_it_is() -> None:
    picture = np.zeros((1, 28, 28), np.uint8)
    picture[0, 10:18, 10:18] = 255
    for name in ("10 % smaller", "10 % larger"):
        found = altered(picture, name)[0].astype(float)
        rows, columns = (found.sum(axis=axis) @ np.arange(28) / found.sum() for axis in (1, 0))
        assert rows == pytest.approx(13.5, abs=0.1)
        assert columns == pytest.approx(13.5, abs=0.1)
        assert (found.sum() > picture.sum()) == (name == "10 % larger")


# Statistics


def test_the_bootstrap_interval_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(1).random(2_000) < 0.3
    least, most = report.bootstrap_interval(lambda column: float(column.mean()), values)
    margin = 1.96 * np.sqrt(0.3 * 0.7 / 2_000)
    assert (most - least) / 2 == pytest.approx(margin, rel=0.1)
    assert least < values.mean() < most


def test_the_bootstrap_interval_of_one_row_is_that_row() -> None:
    assert report.bootstrap_interval(lambda column: float(column.mean()), np.array([0.25])) == [
        0.25,
        0.25,
    ]


def test_mcnemar_counts_the_pictures_that_only_one_model_got_right() -> None:
    right = np.array([True] * 12 + [False] * 2 + [True] * 86)
    other = np.array([False] * 12 + [True] * 2 + [True] * 86)
    first, second, p = report.mcnemar(right, other)
    assert (first, second) == (12, 2)
    assert p == pytest.approx(2 * sum([1, 14, 91]) / 2**14)
    assert report.mcnemar(right, right) == (0, 0, 1.0)


def test_several_seeds_are_told_as_mean_and_deviation() -> None:
    scores = {"expected_calibration_error": 0.004, "accepted": 0.8, "accepted_accuracy": None}
    runs = [
        {"seed": seed, "validation": {"accuracy": 0.9}, "scores": {**scores, "accuracy": accuracy}}
        for seed, accuracy in enumerate((0.94, 0.95, 0.96))
    ]
    text = report.seeds_as_text(runs)
    assert text.startswith("3 seeds")
    assert "test accuracy              95.00 ± 1.00 %" in text
    assert "right of the accepted      –" in text
    assert "±" not in report.seeds_as_text(runs[:1])
