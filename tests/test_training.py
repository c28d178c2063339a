"""Training, on little data where it can be; importing it takes TensorFlow some seconds."""

import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from garments import dataset, network, training
from garments.dataset import Dataset, DatasetError
from garments.engine import Engine
from garments.training import run
from garments.training.augment import Batches, augment
from garments.training.calibrate import choose_threshold, error_bound, fit_temperature
from tests.conftest import MODEL, hundred

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sample() -> Dataset:
    """The hundred pictures of the repository."""
    paths = hundred()
    return Dataset(
        np.stack([np.asarray(Image.open(path)) for path in paths]),
        np.array([int(path.stem[-1]) for path in paths], dtype=np.uint8),
    ).take(np.random.default_rng(0).permutation(len(paths)))


# The networks


def test_the_reference_is_the_plain_cnn_of_its_description() -> None:
    model = network.reference((28, 28, 1), 10)
    shapes = [layer.output.shape[1:] for layer in model.layers[2:]]
    assert shapes == [
        *((26, 26, 32), (13, 13, 32), (11, 11, 64), (5, 5, 64), (3, 3, 128)),
        *((1152,), (128,), (128,), (10,)),
    ]
    assert model.layers[-2].rate == 0.5
    assert model.count_params() == 241_546


@pytest.mark.parametrize("name", sorted(network.ARCHITECTURES))
def test_an_architecture_takes_bytes_and_gives_logits(name: str) -> None:
    model = network.ARCHITECTURES[name]((28, 28, 1), 10)
    assert model.input.dtype == "uint8"
    assert model(np.zeros((3, 28, 28, 1), np.uint8)).shape == (3, 10)


def test_multiply_accumulates_are_counted_by_hand() -> None:
    convolutions = 26 * 26 * 9 * 32 + 11 * 11 * 9 * 32 * 64 + 3 * 3 * 9 * 64 * 128
    dense = 1152 * 128 + 128 * 10
    model = network.reference((28, 28, 1), 10)
    assert network.multiply_accumulates(model) == convolutions + dense


def test_the_residual_network_stays_small() -> None:
    model = network.residual((28, 28, 1), 10)
    assert model.count_params() == 210_138
    assert network.multiply_accumulates(model) == 16_370_560


def test_temperature_and_softmax_are_layers_of_the_graph() -> None:
    logits = network.reference((28, 28, 1), 10)
    model = network.with_probabilities(logits, temperature=2.0)
    pictures = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)
    expected = keras.ops.softmax(logits(pictures) / 2.0)
    assert np.allclose(model(pictures), expected, atol=1e-6)


# What is fed to them


def test_alterations_shift_and_mirror_no_more_than_they_may() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 10, 5] = 255
    random = np.random.default_rng(0)
    places = set()
    for _ in range(500):
        altered = augment(image, random, shift=2, cutout=0)[0]
        places |= {tuple(place) for place in np.argwhere(altered)}
    columns = {*range(3, 8), *range(20, 25)}
    assert places == {(row, column) for row in range(8, 13) for column in columns}


def test_a_cutout_blanks_a_square_that_may_leave_the_picture() -> None:
    full = np.full((500, 28, 28), 255, np.uint8)
    altered = augment(full, np.random.default_rng(0), shift=0, cutout=6)
    blank = (altered == 0).sum(axis=(1, 2))
    assert blank.max() == 36
    assert 0 < blank.min() < 36
    assert (full == 255).all()


def test_an_epoch_shows_every_picture_once_in_an_order_of_its_own(sample: Dataset) -> None:
    batches = Batches(sample, 10, batch_size=20, seed=0, shift=0, cutout=0)

    def shown() -> list[bytes]:
        return [image.tobytes() for number in range(5) for image in batches[number][0]]

    first = shown()
    batches.on_epoch_end()
    second = shown()
    assert sorted(first) == sorted(second) == sorted(image.tobytes() for image in sample.images)
    assert first != second


def test_batches_follow_from_seed_epoch_and_place_alone(sample: Dataset) -> None:
    def batch(seed: int) -> bytes:
        batches = Batches(sample, 10, batch_size=20, seed=seed, shift=2, cutout=6)
        return batches[3][0].tobytes()

    assert batch(0) == batch(0) != batch(1)


# What follows the fit


def test_the_temperature_that_was_put_in_is_found() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (20_000, 10))
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1).astype(np.uint8)
    assert fit_temperature(logits * 3, labels) == pytest.approx(3, rel=0.03)


@pytest.mark.parametrize(
    ("errors", "count", "bound"),
    [(0, 299, 0.00997), (0, 1, 0.95), (5, 5, 1.0), (0, 0, 1.0), (10, 1000, 0.01689)],
)
def test_the_error_bound_is_that_of_clopper_and_pearson(
    errors: int, count: int, bound: float
) -> None:
    assert error_bound(errors, count) == pytest.approx(bound, abs=2e-5)


def test_the_threshold_is_the_lowest_that_keeps_the_promise() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 5_000)
    correct = random.uniform(size=5_000) < confidence
    threshold = choose_threshold(confidence, correct, most_error=0.05)

    def kept(value: float) -> bool:
        accepted = confidence >= value
        return error_bound(int((~correct[accepted]).sum()), int(accepted.sum())) <= 0.05

    assert kept(threshold)
    assert not any(kept(value) for value in confidence[confidence < threshold])


def test_no_threshold_accepts_what_is_always_wrong() -> None:
    assert choose_threshold(np.linspace(0, 1, 500), np.zeros(500, bool)) > 1


def test_equal_confidence_is_accepted_together() -> None:
    confidence = np.array([1.0] * 300 + [0.9] * 100)
    correct = np.array([True] * 350 + [False] * 50)
    assert choose_threshold(confidence, correct) == 1.0


# The whole


@pytest.fixture(scope="module")
def trained(sample: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder made from the hundred pictures in one epoch."""
    home = tmp_path_factory.mktemp("training")
    dataset.write_csv(sample, home / "fashion-mnist_train.csv")
    dataset.write_csv(sample.take(range(30)), home / "fashion-mnist_test.csv")
    folder = home / "model" / "tiny"
    folder.mkdir(parents=True)
    for name in ("card.json", "of-the-old-model"):
        (folder / name).touch()
    training.train(folder, home, architecture="reference", epochs=1, seed=3, validation=40)
    return folder


def test_a_run_leaves_a_whole_model_folder_and_nothing_else(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {
        "card.json",
        "confusion_matrix.png",
        "learning_curves.png",
        "model.keras",
        "model.onnx",
    }
    assert [path.name for path in trained.parent.iterdir()] == ["tiny"]


def test_the_card_tells_where_the_model_came_from(trained: Path, sample: Dataset) -> None:
    card = json.loads((trained / "card.json").read_text())
    graph = (trained / "model.onnx").read_bytes()
    assert (card["name"], card["architecture"]) == ("tiny", "reference")
    assert (card["seed"], card["epochs"]) == (3, 1)
    assert card["version"] == hashlib.sha256(graph).hexdigest()[:12]
    assert card["training_data_sha256"] == sample.digest
    assert (card["height"], card["width"], card["channels"]) == (28, 28, 1)
    assert card["scores"]["count"] == 30
    assert card["scores"].keys() >= {"accuracy", "loss", "expected_calibration_error", "accepted"}
    assert list(card["scores"]["per_class"]) == card["labels"] == list(dataset.LABELS)


def test_what_was_trained_can_be_served(trained: Path) -> None:
    assert Engine(trained).card.parameters == 241_546


def test_the_same_seed_gives_the_same_model(trained: Path) -> None:
    again = trained.parent / "again"
    training.train(
        again, trained.parent.parent, architecture="reference", epochs=1, seed=3, validation=40
    )
    pictures = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1), dtype=np.uint8)
    assert np.allclose(
        Engine(again).probabilities(pictures), Engine(trained).probabilities(pictures), atol=1e-5
    )


def test_the_test_set_is_opened_once_and_last(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    load, fit, export = dataset.load, run.fit, run.export
    monkeypatch.setattr(run.dataset, "load", lambda part, *a: done.append(part) or load(part, *a))
    monkeypatch.setattr(run, "fit", lambda *a: done.append("fit") or fit(*a))
    monkeypatch.setattr(run, "export", lambda *a: done.append("export") or export(*a))
    training.train(
        tmp_path / "m", trained.parent.parent, architecture="reference", epochs=1, validation=40
    )
    assert done == ["train", "fit", "export", "test"]


def test_a_run_that_fails_at_its_end_leaves_the_old_folder_and_nothing_else(
    trained: Path, sample: Dataset, tmp_path: Path
) -> None:
    before = (trained / "card.json").read_bytes()
    dataset.write_csv(sample, tmp_path / "fashion-mnist_train.csv")
    (tmp_path / "fashion-mnist_test.csv").write_text("label\n1\n")
    with pytest.raises(DatasetError, match="line 1: the header must be"):
        training.train(trained, tmp_path, architecture="reference", epochs=1, validation=40)
    assert (trained / "card.json").read_bytes() == before
    assert not list(trained.parent.glob(".*"))


@pytest.mark.parametrize(
    ("choices", "told"),
    [({"epochs": 0}, "at least 1"), ({"seed": -1}, "seed -1"), ({"seed": 2**32}, "the seed")],
)
def test_what_cannot_be_trained_is_refused_first(
    choices: dict[str, int], told: str, tmp_path: Path
) -> None:
    with pytest.raises(training.TrainingError, match=told):
        training.train(tmp_path / "m", tmp_path, architecture="reference", **choices)


def test_a_folder_that_holds_no_model_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "precious.png").touch()
    with pytest.raises(training.TrainingError, match="is no model folder"):
        training.train(tmp_path / "photos", tmp_path, architecture="reference")
    assert (tmp_path / "photos" / "precious.png").exists()


@pytest.mark.figures
def test_keras_and_onnx_runtime_agree_on_a_thousand_pictures(
    engine: Engine, test_set: Dataset
) -> None:
    pictures = test_set.images[:1_000, ..., None]
    found = keras.models.load_model(MODEL / "model.keras").predict(pictures, verbose=0)
    strayed = np.abs(found - engine.probabilities(pictures)).max()
    print(f"\nKeras and ONNX Runtime differ by at most {strayed:.1e}")
    assert strayed < 1e-4
