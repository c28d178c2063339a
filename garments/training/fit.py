"""Fit a network to the training pictures, resuming where an interrupted run stopped."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from garments.network import ARCHITECTURES
from garments.training import checkpoint, pretrained
from garments.training.batches import Examples, plan
from garments.training.calibrate import losses_of
from garments.training.learner import AT_ONCE, Batch, Floats, Learner
from garments.training.recipe import Recipe
from garments.training.teacher_answers import TeacherAnswers
from garments.training_request import TrainingError

WARM_UP = 0.1  # of the epochs, and at most one

History = dict[str, list[float]]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """A network that gives logits, and how it came about."""

    network: keras.Model
    history: History
    """By name, a figure an epoch."""
    backends: list[str]
    """What trained each epoch."""


def make_learner(backend: str, network: keras.Model, recipe: Recipe, seed: int) -> Learner:
    """The `backend`'s way to train `network`."""
    if backend == "torch":
        from garments.training.torch_learner import TorchLearner

        return TorchLearner(network, recipe, seed)
    from garments.training.tensorflow_learner import TensorFlowLearner

    return TensorFlowLearner(network, recipe)


def fit(
    architecture: str,
    recipe: Recipe,
    training: Examples,
    validation: Examples | None,
    *,
    seed: int,
    backend: str,
    checkpoint_file: Path,
    teacher_answers: TeacherAnswers | None = None,
) -> Fitted:
    """Train on `training` for the recipe's epochs and keep the last weights.

    `validation` is only looked at; where it is None, there is nothing to tell of it. Where there
    are `teacher_answers`, they are learnt beside the labels.
    The state after every epoch is kept in `checkpoint_file`; where it exists, training goes on
    from it and ends with the weights of an unbroken run. Raises TrainingError for a state that
    cannot be used, and where the loss is no number any more.
    """
    # Names its layers alike in every run, so that the same weights have the same version.
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    classes = training.targets.shape[1]
    network = ARCHITECTURES[architecture](training.shape, classes)
    if recipe.pretrained:
        pretrained.begin(network)
    learner = make_learner(backend, network, recipe, seed)
    losses = np.full(len(training.targets), np.inf, np.float32)
    history: History = {"loss": [], "val_loss": [], "val_accuracy": []}
    backends: list[str] = []
    if checkpoint_file.exists():
        state = checkpoint.load(checkpoint_file)
        try:
            learner.restore(state)
            losses[:] = state["losses"]
            history = {name: state[f"history.{name}"].tolist() for name in history}
            backends = state["backends"].tolist()
        except (KeyError, ValueError, RuntimeError) as error:
            raise TrainingError(
                f"{checkpoint_file} is of another network or another version of this program "
                f"({error}): delete it to train from the beginning"
            ) from error
        log.info("seed %d: going on after epoch %d of %d", seed, len(backends), recipe.epochs)

    for epoch in range(len(backends), recipe.epochs):
        started = time.monotonic()
        shown = _train_an_epoch(learner, recipe, training, teacher_answers, losses, seed, epoch)
        history["loss"].append(shown)
        loss, accuracy = _judge(learner, validation) if validation else (math.nan, math.nan)
        history["val_loss"].append(loss)
        history["val_accuracy"].append(accuracy)
        backends.append(backend)
        if not np.isfinite(shown) or (validation and not np.isfinite(loss)):
            raise TrainingError(
                f"seed {seed}: the loss is no number any more after epoch {epoch + 1}: "
                "lower the rates of the recipe"
            )
        kept = {f"history.{name}": np.array(values) for name, values in history.items()}
        kept |= {"losses": losses, "backends": np.array(backends)}
        checkpoint.save(checkpoint_file, {**learner.state(), **kept})
        judged = f", validation loss {loss:.4f}, accuracy {accuracy:.2%}" if validation else ""
        log.info(
            "seed %d, epoch %d of %d: loss %.4f%s, %.0f s",
            seed,
            epoch + 1,
            recipe.epochs,
            shown,
            judged,
            time.monotonic() - started,
        )
    return Fitted(learner.network(), history, backends)


def is_finished(state: Path, recipe: Recipe) -> bool:
    """Whether `fit` has nothing to do any more for what it keeps in `state`."""
    return state.exists() and len(checkpoint.load(state).get("backends", ())) >= recipe.epochs


def _train_an_epoch(
    learner: Learner,
    recipe: Recipe,
    training: Examples,
    teacher_answers: TeacherAnswers | None,
    losses: Floats,
    seed: int,
    epoch: int,
) -> float:
    """Show the epoch's pictures, note the loss of each in `losses`, and return their mean."""
    shown = plan(losses, recipe, seed, epoch)
    answered = teacher_answers.of(epoch) if teacher_answers else None
    starts = range(0, len(shown.rows), recipe.batch_size)
    for number, start in enumerate(starts):
        rows = shown.rows[start : start + recipe.batch_size]
        if answered:
            pictures, soft_targets = answered.pictures[rows], answered.answers[rows]
        else:
            pictures, soft_targets = training.altered(rows, recipe, seed, epoch, number), None
        weights = shown.weights[start : start + recipe.batch_size]
        batch = Batch(pictures, training.targets[rows], weights, soft_targets)
        progress = (epoch + (number + 0.5) / len(starts)) / recipe.epochs
        losses[rows] = learner.step(batch, rate_factor(progress, recipe.epochs))
    return float(np.average(losses[shown.rows], weights=shown.weights))


def rate_factor(progress: float, epochs: int) -> float:
    """The share of the peak rate at `progress` (0 to 1): up a short line, then down a long one."""
    warm_up = min(WARM_UP, 1 / epochs)
    return min(progress / warm_up, (1 - progress) / (1 - warm_up))


def _judge(learner: Learner, validation: Examples) -> tuple[float, float]:
    """Loss and accuracy on `validation`."""
    rows = np.arange(len(validation.targets))
    starts = range(0, len(rows), AT_ONCE)
    parts = [learner.logits(validation.plain(rows[start : start + AT_ONCE])) for start in starts]
    logits = np.concatenate(parts)
    right = validation.targets[rows, logits.argmax(axis=1)]
    return float(losses_of(logits, validation.targets).mean()), float(right.mean())
