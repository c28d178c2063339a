"""Answers for photos by networks that saw no other of the same contributors: out of fold."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from garments.dataset import Dataset
from garments.training.batches import Examples, Rows
from garments.training.export import probabilities_of, write_model
from garments.training.labelled import NONE_OF_TEN
from garments.training.learner import Floats, Pictures
from garments.training.photo_fit import PhotoFit
from garments.training.photos import Photo
from garments.training.recipe import SPLIT_SEED
from garments.training.scenes import Size
from garments.training.shown import Photos
from garments.training_request import TrainingError

_DRAWN = 100  # catalogue shots among what integers have to reach
_AT_ONCE = 64

log = logging.getLogger(__name__)


def grouped_folds(photos: Sequence[Photo], folds: int) -> list[Rows]:
    """The rows of `folds` parts, with no contributor in two and the classes in like shares.

    There are no more parts than contributors. Raises TrainingError where none can be judged.
    """
    senders = np.array([photo.sender for photo in photos])
    people = len(set(senders))
    if people < 2:
        raise TrainingError(
            "all photos are by one contributor: photos of at least two people are needed to judge "
            "by one what others taught"
        )
    folds = min(folds, people)
    if unknown := sum(photo.is_by_nobody_known for photo in photos):
        log.warning(
            "of %s photos it is not known who took them: each counts as by somebody else, so what "
            "is told of contributors never seen is too good where one person took several",
            f"{unknown:,}",
        )
    classes = [str(sorted(photo.accepted)) for photo in photos]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer photos than folds
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=SPLIT_SEED)
        try:
            return [rows for _, rows in splitter.split(senders, classes, senders)]
        except ValueError as error:
            raise TrainingError(
                f"no class has {folds} photos, one for each fold of contributors: give more photos"
            ) from error


def fit_each(
    how: PhotoFit, photos: Sequence[Photo], parts: Sequence[Rows]
) -> tuple[list[keras.Model], Floats]:
    """For each part the network fitted to all others, and what it answers for this one.

    The answers are the logits (photos, kinds). Raises TrainingError, and DatasetError for a photo
    that cannot be read.
    """
    networks = []
    logits = np.empty((len(photos), len(how.kinds)), np.float32)
    for part in parts:
        networks.append(how.fitted(_others(photos, part))[0])
        logits[part] = _logits(networks[-1], Photos([photos[row] for row in part], how.size))
    return networks, logits


def as_served(
    how: PhotoFit,
    photos: Sequence[Photo],
    parts: Sequence[Rows],
    models: Iterable[keras.Model],
    scratch: Path,
) -> Floats:
    """What each part's model, written below `scratch`, answers for its photos: (photos, 11)."""
    probabilities = np.empty((len(photos), NONE_OF_TEN + 1), np.float32)
    for number, (part, model) in enumerate(zip(parts, models, strict=True)):
        folder = scratch / str(number)
        write_model(model, representative(_others(photos, part), how.size, how.catalogue), folder)
        unseen = Photos([photos[row] for row in part], how.size)
        probabilities[part] = ask(folder, unseen)
    return probabilities


def in_floats(logits: Floats, served: Callable[[keras.Model], keras.Model]) -> Floats:
    """What the `served` networks answer before they are made of integers: (photos, 11).

    `logits` (photos, kinds) are their answers without temperature and costs.
    """
    inputs = keras.Input(logits.shape[1:])
    return _with_none(served(keras.Model(inputs, inputs)).predict(logits, verbose=0))


def ask(folder: Path, examples: Examples) -> Floats:
    """What the model in `folder` answers as it is served, and what is left for none: (n, 11)."""
    return _with_none(np.concatenate([probabilities_of(folder, part) for part in _parts(examples)]))


def representative(photos: Sequence[Photo], size: Size, catalogue: Dataset) -> Pictures:
    """What integers have to reach: at most 200 of the `photos`, evenly spread, and shots."""
    examples = Photos(photos[:: 1 + len(photos) // 200], size, _DRAWN, catalogue)
    return examples.plain(np.arange(len(examples.targets)))


def _others(photos: Sequence[Photo], part: Rows) -> list[Photo]:
    return [photos[row] for row in np.setdiff1d(np.arange(len(photos)), part)]


def _logits(network: keras.Model, examples: Examples) -> Floats:
    """What the network answers for all of `examples`: (n, kinds)."""
    return np.concatenate(
        [network.predict(part, batch_size=_AT_ONCE, verbose=0) for part in _parts(examples)]
    )


def _with_none(ten: Floats) -> Floats:
    """What ten probabilities leave for none of them is the last of (n, 11)."""
    return np.concatenate([ten, 1 - ten.sum(axis=1, keepdims=True)], axis=1)


def _parts(examples: Examples) -> Iterator[Pictures]:
    """The pictures of `examples`, some at a time: in the first layers each takes 10 MB."""
    rows = np.arange(len(examples.targets))
    return (examples.plain(rows[start : start + _AT_ONCE]) for start in rows[::_AT_ONCE])
