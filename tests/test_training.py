"""Training, on little data where it can be; importing it takes TensorFlow some seconds."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import onnx
import pytest

from garments import dataset, network
from garments.bounds import error_bound
from garments.card import Card, read_card, version_of
from garments.dataset import Dataset, DatasetError
from garments.engine import Engine, Graph
from garments.report import mcnemar
from garments.training import fit, preflight, run
from garments.training.augment import augment, blurred, warped
from garments.training.calibrate import (
    choose_threshold,
    fit_temperature,
    highest_temperature,
    losses_of,
    told_of,
)
from garments.training.export import write_model, write_onnx
from garments.training.kinds import CLASSES_ALONE, Kind, costs_of
from garments.training.photo_run import train_on_photos
from garments.training.quantize import quantize
from garments.training.recipe import RECIPES
from garments.training.replacing import WHOLE, replacing_folder, restore
from garments.training.teachers import Teachers, in_floats
from garments.training_request import (
    BACKENDS,
    FOR_CATALOGUE,
    FOR_PHOTOS,
    TrainingError,
    parser,
)
from tests.conftest import MODEL

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_accumulates"),
    [
        ("residual", 210_138, 16_370_560),
        ("residual-fine", 214_874, 19_983_232),
        ("residual-large", 3_477_322, 376_172_032),
    ],
)
def test_the_residual_networks_are_of_the_size_that_is_told(
    name: str, parameters: int, multiply_accumulates: int
) -> None:
    model = network.ARCHITECTURES[name]((28, 28, 1), 10)
    assert model.count_params() == parameters
    assert network.multiply_accumulates(model) == multiply_accumulates


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
        altered = augment(image, random, shift=2, cutout=0, camera=0)[0]
        places |= {tuple(place) for place in np.argwhere(altered)}
    columns = {*range(3, 8), *range(20, 25)}
    assert places == {(row, column) for row in range(8, 13) for column in columns}


def test_a_cutout_blanks_a_square_that_may_leave_the_picture() -> None:
    full = np.full((500, 28, 28), 255, np.uint8)
    altered = augment(full, np.random.default_rng(0), shift=0, cutout=6, camera=0)
    blank = (altered == 0).sum(axis=(1, 2))
    assert blank.max() == 36
    assert 0 < blank.min() < 36
    assert (full == 255).all()


def test_a_picture_that_is_neither_turned_nor_zoomed_is_as_it_was(sample: Dataset) -> None:
    still, whole = np.zeros((100, 1, 1), np.float32), np.ones((100, 1, 1), np.float32)
    assert (warped(sample.images, still, whole) == sample.images).all()
    assert np.allclose(blurred(sample.images.astype(np.float32), still), sample.images)


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_picture_is_turned_about_its_centre(degrees: int, sample: Dataset) -> None:
    turn = np.full((100, 1, 1), degrees, np.float32)
    found = warped(sample.images, turn, np.ones_like(turn))
    assert np.allclose(found, np.rot90(sample.images, degrees // 90, axes=(2, 1)), atol=0.1)


@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_a_picture_is_enlarged_about_its_centre(zoom: float) -> None:
    square = np.zeros((1, 28, 28), np.uint8)
    square[0, 10:18, 10:18] = 200
    factor = np.full((1, 1, 1), zoom, np.float32)
    found = warped(square, np.zeros_like(factor), factor)[0]
    side = int(8 * zoom)
    assert found.sum() == pytest.approx(200 * side**2, rel=0.05)
    assert (found == found[::-1]).all()
    assert np.allclose(found, found.T, atol=1e-3)


def test_a_blur_spreads_and_keeps_the_light() -> None:
    point = np.zeros((1, 28, 28), np.float32)
    point[0, 14, 14] = 100
    found = blurred(point, np.full((1, 1, 1), 0.8, np.float32))[0]
    assert found.sum() == pytest.approx(100, rel=1e-4)
    offsets = np.arange(28) - 14
    assert found.sum(axis=0) @ offsets**2 / 100 == pytest.approx(0.64, rel=0.05)
    assert np.allclose(found, found.T, atol=1e-4)
    flat = np.full((1, 28, 28), 7, np.float32)
    assert np.allclose(blurred(flat, np.full((1, 1, 1), 1.2, np.float32)), 7)


def test_the_share_seen_by_a_camera_is_altered_and_the_rest_as_sharp_as_before() -> None:
    random = np.random.default_rng(0)
    pictures = random.integers(1, 255, (2_000, 28, 28), dtype=np.uint8)
    altered = augment(pictures, random, shift=0, cutout=0, camera=0.25)
    same = [
        (found == picture).all() or (found == picture[:, ::-1]).all()
        for found, picture in zip(altered, pictures, strict=True)
    ]
    # Of six alterations each comes to half of the pictures, so one in 64 has none.
    assert 1 - np.mean(same) == pytest.approx(0.25 * (1 - 1 / 64), abs=0.03)


# What follows the fit


def test_the_temperature_that_was_put_in_is_found() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (20_000, 10))
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    assert fit_temperature(logits * 3, np.eye(10)[labels]) == pytest.approx(3, rel=0.03)


def test_the_highest_temperature_is_below_the_true_one_once_in_twenty() -> None:
    random = np.random.default_rng(0)
    below = 0
    for _ in range(400):
        logits = random.normal(0, 2, (100, 5))
        labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
        below += highest_temperature(logits * 3, np.eye(5)[labels]) < 3
    assert below == pytest.approx(20, abs=12)


def test_the_highest_temperature_is_where_likelihood_falls_short_by_what_chance_allows() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (500, 10))
    targets = np.eye(10)[(logits + random.gumbel(size=logits.shape)).argmax(axis=1)]
    likeliest, highest = (
        losses_of(logits / found(logits, targets), targets).sum()
        for found in (fit_temperature, highest_temperature)
    )
    # Of a normal distribution one in twenty is above 1.645; the ratio's logarithm counts double.
    assert 2 * (highest - likeliest) == pytest.approx(1.645**2, rel=1e-3)


def test_of_answers_that_are_never_right_every_temperature_is_allowed() -> None:
    logits = np.tile(np.arange(10.0), (50, 1))
    assert highest_temperature(logits, np.eye(10)[np.zeros(50, int)]) == pytest.approx(20)


@pytest.mark.long
def test_a_network_that_its_pictures_chose_is_less_sure_than_they_suggest(
    trained: Path, tmp_path: Path
) -> None:
    choices = {"architecture": "reference", "epochs": 2, "validation": 40}
    run.train(tmp_path / "m", trained.parent.parent, seeds=[3, 4], **choices)
    best = Engine(tmp_path / "m").card
    run.train(tmp_path / "alone", trained.parent.parent, seeds=[best.seed], **choices)
    alone = Engine(tmp_path / "alone").card
    assert best.temperature > 1.01 * alone.temperature
    assert "the upper 97.5 % bound" in best.accept_threshold_chosen_by
    assert "the upper 95 % bound" in alone.accept_threshold_chosen_by


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


def test_no_threshold_accepts_what_is_always_wrong(caplog: pytest.LogCaptureFixture) -> None:
    found = choose_threshold(np.linspace(0, 1, 500), np.zeros(500, bool))
    assert found > 1
    assert "accepts nothing, all of its answers go to review" in caplog.text
    told = told_of(found, "confidence from which on few are wrong")
    assert told == "nothing is accepted: there is no confidence from which on few are wrong"


def test_equal_confidence_is_accepted_together() -> None:
    confidence = np.array([1.0] * 300 + [0.9] * 100)
    correct = np.array([True] * 350 + [False] * 50)
    assert choose_threshold(confidence, correct) == 1.0


# The whole


@pytest.fixture(scope="module")
def trained(sample: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder made from the hundred pictures in two epochs."""
    home = tmp_path_factory.mktemp("training")
    dataset.write_csv(sample, home / "fashion-mnist_train.csv")
    dataset.write_csv(sample.take(range(30)), home / "fashion-mnist_test.csv")
    folder = home / "model" / "tiny"
    folder.mkdir(parents=True)
    for name in ("card.json", "of-the-old-model"):
        (folder / name).touch()
    run.train(folder, home, architecture="reference", epochs=2, seeds=[3], validation=40)
    return folder


def test_a_run_leaves_a_whole_model_folder_and_nothing_else(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {
        "card.json",
        "confusion_matrix.png",
        "coverage.png",
        "learning_curves.png",
        "model.keras",
        "model.onnx",
        "reliability.png",
    }
    assert [path.name for path in trained.parent.iterdir()] == ["tiny"]


def test_the_card_tells_where_the_model_came_from(trained: Path, sample: Dataset) -> None:
    card = json.loads((trained / "card.json").read_text())
    graph = (trained / "model.onnx").read_bytes()
    assert (card["name"], card["architecture"]) == ("tiny", "reference")
    assert (card["seed"], card["epochs"]) == (3, 2)
    assert card["backend"].startswith("tensorflow, Keras 3.")
    assert card["validation"]["count"] == 40
    assert card["version"] == hashlib.sha256(graph).hexdigest()[:12]
    assert card["training_data_sha256"] == sample.digest
    assert (card["height"], card["width"], card["channels"]) == (28, 28, 1)
    assert card["scores"]["count"] == 30
    assert card["scores"].keys() >= {"accuracy", "loss", "expected_calibration_error", "accepted"}
    assert [run["seed"] for run in card["runs"]] == [3]
    assert list(card["scores"]["per_class"]) == card["labels"] == list(dataset.LABELS)


def test_what_was_trained_can_be_served(trained: Path) -> None:
    assert Engine(trained).card.parameters == 241_546


def test_a_finished_run_comes_to_the_same_model_again_without_training(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = tmp_path / "again"
    monkeypatch.delattr(fit, "_train_an_epoch")
    run.train(
        again, trained.parent.parent, architecture="reference", epochs=2, seeds=[3], validation=40
    )
    pictures = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1), dtype=np.uint8)
    assert np.array_equal(
        Engine(again).probabilities(pictures), Engine(trained).probabilities(pictures)
    )


def test_a_quick_run_has_three_epochs_of_pictures_that_are_not_made_hard(
    trained: Path, tmp_path: Path
) -> None:
    card, _ = run.train(
        tmp_path / "m", trained.parent.parent, architecture="reference", quick=True, validation=40
    )
    assert card.epochs == 3
    recipe = RECIPES["residual"].quick()
    assert (recipe.shift, recipe.cutout, recipe.camera) == (1, 0, 0)


def test_a_network_that_was_taught_is_another_and_teaches_with_the_first(
    trained: Path, sample: Dataset, tmp_path: Path
) -> None:
    first, folder = Engine(trained), tmp_path / "m"
    choices = {"architecture": "reference", "epochs": 2, "seeds": [3], "validation": 40}
    card, _ = run.train(folder, trained.parent.parent, teachers=[trained], **choices)
    assert (card.taught_by, first.card.taught_by) == ([first.card.version], [])
    # Had it gone on from the state of the run without teachers, it would be that network.
    assert card.version != first.card.version
    teachers = Teachers([folder, trained, folder], sample.digest, "tensorflow")
    assert teachers.versions == sorted([card.version, first.card.version])
    pictures = sample.images[..., None]
    one, other = first.probabilities(pictures), Engine(folder).probabilities(pictures)
    assert np.allclose(teachers.answer(pictures), (one + other) / 2, atol=1e-6)


def test_where_there_is_an_accelerator_teachers_answer_in_floats_as_in_integers(
    sample: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="torch is not installed: make torch")
    monkeypatch.setattr("garments.training.teachers._has_accelerator", lambda: True)
    engine, pictures = Engine(MODEL), sample.images[..., None]
    teachers = Teachers([MODEL], engine.card.training_data_sha256, "torch")
    astray = np.abs(teachers.answer(pictures) - engine.probabilities(pictures)).mean()
    assert 0 < astray < 0.001


def test_a_teacher_whose_network_cannot_be_read_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: make torch")
    with pytest.raises(TrainingError, match="no teacher: .*model.keras cannot be read"):
        in_floats(tmp_path)
    whole = (MODEL / "model.keras").read_bytes()
    damaged = whole[:500_000] + bytes([whole[500_000] ^ 1]) + whole[500_001:]
    for content in (b"PK", damaged):
        (tmp_path / "model.keras").write_bytes(content)
        with pytest.raises(TrainingError, match="no teacher: .*model.keras cannot be re"):
            in_floats(tmp_path)


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        (MODEL.parent / "photo", "photo is no teacher here: it learnt from other pictures"),
        (MODEL.parent / "nowhere", "no teacher: .*nowhere is no model folder"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(folder: Path, told: str) -> None:
    with pytest.raises(TrainingError, match=told):
        Teachers([MODEL, folder], Engine(MODEL).card.training_data_sha256, "tensorflow")


@pytest.mark.long
def test_of_several_seeds_the_best_on_validation_is_kept(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "best"
    card, scores = run.train(
        folder,
        trained.parent.parent,
        architecture="reference",
        epochs=2,
        seeds=[3, 4, 5],
        validation=40,
    )
    assert [run["seed"] for run in card.runs] == [3, 4, 5]
    by_validation = [run["validation"] for run in card.runs]
    chosen = max(by_validation, key=lambda scores: (scores["accuracy"], -scores["loss"]))
    best = card.runs[by_validation.index(chosen)]
    assert card.seed == best["seed"]
    assert card.validation == best["validation"]
    assert scores.accuracy == card.scores["accuracy"] == best["scores"]["accuracy"]
    assert Engine(folder).card == card
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_the_test_set_is_opened_once_and_last(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    load, fit, export = dataset.load, run.fit, run.export
    monkeypatch.setattr(run.dataset, "load", lambda part, *a: done.append(part) or load(part, *a))
    monkeypatch.setattr(run, "fit", lambda *a, **k: done.append("fit") or fit(*a, **k))
    monkeypatch.setattr(run, "export", lambda *a, **k: done.append("export") or export(*a, **k))
    run.train(
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
        run.train(trained, tmp_path, architecture="reference", epochs=1, validation=40)
    assert (trained / "card.json").read_bytes() == before
    assert not list(trained.parent.glob(".*"))


def test_a_model_that_accepts_something_stays_where_a_new_one_would_accept_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(MODEL, tmp_path / "m")
    monkeypatch.delattr(fit, "_train_an_epoch")  # the states of `trained` are all that is needed
    opened = []
    load = dataset.load
    monkeypatch.setattr(run.dataset, "load", lambda part, *a: opened.append(part) or load(part, *a))

    def train(name: str) -> Card:
        choices = {"architecture": "reference", "epochs": 2, "seeds": [3], "validation": 40}
        return run.train(tmp_path / name, trained.parent.parent, **choices)[0]

    told = "/m is not replaced: .* the new one would accept none; .*--name; .* is trained again"
    with pytest.raises(TrainingError, match=told):
        train("m")
    assert opened == ["train"]
    assert read_card(tmp_path / "m") == read_card(MODEL)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert train("other").accept_threshold > 1
    assert train("other").accept_threshold > 1  # what accepts nothing may be replaced by its like


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"epochs": 0}, "at least 1"),
        ({"seeds": [-1]}, "seed -1"),
        ({"seeds": [2**32]}, "the seed"),
        ({"seeds": [1, 1]}, "given twice"),
        ({"backend": "nothing"}, "not installed: .* make torch"),
    ],
)
def test_what_cannot_be_trained_is_refused_first(
    choices: dict[str, object], told: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=told):
        run.train(tmp_path / "m", tmp_path, architecture="reference", **choices)


def test_a_test_set_that_is_nowhere_is_missed_before_anything_is_trained(
    sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(run, "fit")
    dataset.write_csv(sample, tmp_path / dataset.CSV_NAMES["train"])
    with pytest.raises(DatasetError, match="correct GARMENTS_DATASET_DIR"):
        run.train(tmp_path / "m", tmp_path, tmp_path / "none", architecture="reference")


def test_what_may_be_asked_for_is_what_there_is_a_recipe_and_a_backend_for() -> None:
    recipes = RECIPES.items()
    assert {name for name, recipe in recipes if recipe.pretrained} == set(FOR_PHOTOS)
    assert {name for name, recipe in recipes if not recipe.pretrained} == set(FOR_CATALOGUE)
    told = parser(None).format_help()
    assert all(name in told for name in (*RECIPES, *BACKENDS))


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = old_model(tmp_path)
    with replacing_folder(folder) as place:
        (place / WHOLE).mkdir()
        (place / WHOLE / "new").touch()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_whose_place_a_killed_run_left_empty_is_put_back_before_training(
    tmp_path: Path,
) -> None:
    folder = old_model(tmp_path)
    folder.rename(tmp_path / ".model.old")
    (tmp_path / ".model.part").mkdir()
    with pytest.raises(TrainingError, match="is no model folder"):  # but was put back
        preflight.check(folder, (0,), 1, "tensorflow")
    assert [path.name for path in folder.iterdir()] == ["old"]
    (tmp_path / ".model.old").mkdir()  # which another run was about to remove
    restore(folder)
    assert [path.name for path in folder.iterdir()] == ["old"]


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_that_cannot_be_replaced_stays(made: bool, tmp_path: Path) -> None:
    folder = old_model(tmp_path)

    def replace() -> None:
        with replacing_folder(folder) as place:
            if made:
                (place / WHOLE).mkdir()
                raise OSError("the disk is full")

    what = "the disk is full" if made else f"No such file .*{WHOLE}"
    told = rf"no model was put into {folder} \(.*{what}.*\): .* of what was trained"
    with pytest.raises(TrainingError, match=told):
        replace()
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_new_model_that_a_crash_may_lose_is_told_to_be_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, fsync = old_model(tmp_path), os.fsync

    def failing(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), tmp_path.stat()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    def replace() -> None:
        with replacing_folder(folder) as place:
            (place / WHOLE).mkdir()
            (place / WHOLE / "new").touch()

    monkeypatch.setattr(os, "fsync", failing)
    told = rf"^the new model is in {folder}, but a crash .* lose it \(.*Input/output error\): mend"
    with pytest.raises(TrainingError, match=told):
        replace()
    assert [path.name for path in folder.iterdir()] == ["new"]


def test_a_model_is_put_where_folders_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, fsync = old_model(tmp_path), os.fsync

    def failing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):  # as of the shared folders of VirtualBox
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with replacing_folder(folder) as place:
        (place / WHOLE).mkdir()
        (place / WHOLE / "new").touch()
    assert [path.name for path in folder.iterdir()] == ["new"]


def test_one_that_waits_for_another_and_is_interrupted_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, flock = old_model(tmp_path), fcntl.flock

    def interrupted(descriptor: int, how: int) -> None:
        if how == fcntl.LOCK_EX:  # and waits
            raise KeyboardInterrupt
        flock(descriptor, how)

    caplog.set_level("INFO")
    with replacing_folder(folder) as place:
        monkeypatch.setattr(fcntl, "flock", interrupted)
        with pytest.raises(KeyboardInterrupt), replacing_folder(folder):
            pass
        (place / WHOLE).mkdir()
        (place / WHOLE / "new").touch()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert "waiting for another process" in caplog.text


def test_of_a_link_the_folder_behind_it_is_replaced_each_time(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "model"
    folder.symlink_to(old_model(tmp_path / "elsewhere"))
    for name in ("new", "newer"):
        with replacing_folder(folder) as place:
            (place / WHOLE).mkdir()
            (place / WHOLE / name).touch()
        assert [path.name for path in folder.iterdir()] == [name]
    assert folder.is_symlink()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["model"]


def test_what_a_kill_between_the_renames_left_behind_comes_back(tmp_path: Path) -> None:
    folder = old_model(tmp_path)
    folder.rename(tmp_path / ".model.old")
    (tmp_path / ".model.part" / WHOLE).mkdir(parents=True)
    with pytest.raises(KeyError), replacing_folder(folder):
        raise KeyError
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_where_no_folder_can_be_made_it_is_told_as_all_else_that_fails(tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    told = "no model was put into .*Not a directory.*: mend that"
    refused = pytest.raises(TrainingError, match=told)
    with refused, replacing_folder(tmp_path / "models/a/b"):
        pytest.fail("nothing can be put there")


def old_model(home: Path) -> Path:
    folder = home / "model"
    folder.mkdir()
    (folder / "old").touch()
    return folder


def test_networks_are_only_made_where_they_can_be_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(TrainingError, match="Keras runs on torch.*KERAS_BACKEND"):
        run.train(tmp_path / "m", tmp_path, architecture="reference")


@pytest.mark.parametrize(
    ("name", "set_to"), [("floatx", "float16"), ("image_data_format", "channels_first")]
)
def test_networks_are_only_made_in_the_form_that_they_are_written_for(
    name: str, set_to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.config, name, lambda: set_to)
    with pytest.raises(TrainingError, match=f"keras.json.* sets .*{set_to}.*correct or"):
        run.train(tmp_path / "m", tmp_path, architecture="reference")


@pytest.mark.parametrize(
    ("name", "why"), [("a" * 250, "File name too long"), ("file/model", "file .File exists")]
)
def test_a_place_that_no_model_can_have_is_refused_at_once(
    name: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    told = f"no model can be written into .*{why}.*GARMENTS_MODEL_DIR"
    with pytest.raises(TrainingError, match=told):
        run.train(tmp_path / name, tmp_path, architecture="reference")


def test_a_folder_that_holds_no_model_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "precious.png").touch()
    with pytest.raises(TrainingError, match="is no model folder"):
        run.train(tmp_path / "photos", tmp_path, architecture="reference")
    assert (tmp_path / "photos" / "precious.png").exists()


def test_a_model_for_photos_is_not_replaced_by_one_for_small_pictures(tmp_path: Path) -> None:
    shutil.copytree(MODEL.parent / "photo", tmp_path / "photo")
    with pytest.raises(TrainingError, match="holds a model for photos: .* --name"):
        run.train(tmp_path / "photo", tmp_path, architecture="reference")


def test_nor_one_for_small_pictures_by_one_for_photos(tmp_path: Path) -> None:
    shutil.copytree(MODEL, tmp_path / "small")
    with pytest.raises(TrainingError, match="for Fashion-MNIST pictures: .* --name"):
        train_on_photos(tmp_path / "small", [tmp_path], tmp_path)


def strayed(
    folder: Path, scratch: Path, pictures: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """How far ONNX Runtime is from Keras in floats; where integers give another class.

    And how far ahead, in floats, the likeliest class of each picture is of the next.
    """
    network = keras.models.load_model(folder / "model.keras")
    found = network.predict(pictures, verbose=0)
    write_onnx(network, scratch / "float.onnx")
    in_floats = Graph(scratch / "float.onnx").probabilities(pictures)
    served = Graph(folder / "model.onnx").probabilities(pictures)
    second, first = np.sort(in_floats, axis=1)[:, -2:].T
    changed = in_floats.argmax(axis=1) != served.argmax(axis=1)
    return float(np.abs(found - in_floats).max()), changed, first - second


@pytest.mark.parametrize("kinds", [None, (*CLASSES_ALONE[:9], Kind(frozenset({0, 2})))])
def test_the_same_weights_have_one_version_whatever_was_made_before(
    kinds: Sequence[Kind] | None, sample: Dataset, tmp_path: Path
) -> None:
    weights = network.reference((28, 28, 1), 10).get_weights()
    versions = set()
    for before in range(3):
        models = [network.reference((28, 28, 1), 10) for _ in range(before + 1)]
        models[-1].set_weights(weights)
        served = network.with_probabilities(models[-1], 1.0, costs_of(kinds) if kinds else None)
        write_model(served, sample.images[..., None], tmp_path / str(before))
        versions.add(version_of(tmp_path / str(before) / "model.onnx"))
    assert len(versions) == 1


def test_what_is_served_is_the_keras_network_in_integers(
    trained: Path, sample: Dataset, tmp_path: Path
) -> None:
    # After two epochs on sixty pictures all answers are near things, which the last digits decide.
    furthest, changed, ahead = strayed(MODEL, tmp_path, sample.images[..., None])
    assert furthest < 1e-4
    assert (ahead > 0.05).sum() > 80
    assert not changed[ahead > 0.05].any()
    operations = {node.op_type for node in onnx.load(trained / "model.onnx").graph.node}
    assert operations >= {"QuantizeLinear", "DequantizeLinear"}
    assert json.loads((trained / "card.json").read_text())["precision"] == "int8"


def test_a_full_temporary_folder_is_told_before_integers_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = tmp_path / "model.onnx"
    write_onnx(network.reference((28, 28, 1), 10), graph)
    before = graph.read_bytes()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=len(before)))
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'"):
        quantize(graph, np.zeros((1, 28, 28, 1), np.uint8), "pictures")
    assert graph.read_bytes() == before


@pytest.mark.long
@pytest.mark.figures
def test_integers_cost_next_to_nothing(test_set: Dataset, tmp_path: Path) -> None:
    pictures = test_set.images[..., None]
    furthest, changed, ahead = strayed(MODEL, tmp_path, pictures)
    floats, integers = (
        Graph(path).probabilities(pictures).argmax(axis=1) == test_set.labels
        for path in (tmp_path / "float.onnx", MODEL / "model.onnx")
    )
    lost, won, p = mcnemar(floats, integers)
    print(
        f"\nKeras and ONNX Runtime differ by at most {furthest:.1e} in floats; right are "
        f"{floats.mean():.2%} in floats and {integers.mean():.2%} in integers; {changed.sum()} "
        f"answers change, {lost} of them to wrong and {won} to right (McNemar's p = {p:.2g})"
    )
    assert furthest < 1e-4
    assert not changed[ahead > 0.3].any()
    assert abs(floats.mean() - integers.mean()) < 0.002
