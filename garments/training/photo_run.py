"""Training on photos: judged on contributors that were not trained on, then fitted to all."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from garments import dataset
from garments.card import ACCEPTS_NOTHING, Card
from garments.dataset import Dataset
from garments.network import with_probabilities
from garments.preprocess import BadImage
from garments.training import pretrained
from garments.training.batches import Examples
from garments.training.calibrate import fit_temperature
from garments.training.export import (
    Calibration,
    Origin,
    card_of,
    probabilities_of,
    write_model,
)
from garments.training.judge import Judged, accuracy_of, draw, enough, judge, scores
from garments.training.kinds import Kind, costs_of, kind_targets, kinds_of
from garments.training.labelled import NONE_OF_TEN
from garments.training.learner import Floats
from garments.training.mistakes import draw_mistakes
from garments.training.photo_fit import PhotoFit
from garments.training.photos import (
    Photo,
    as_they_came,
    digest_of,
    read_photos,
    targets_of,
)
from garments.training.preflight import check
from garments.training.recipe import SPLIT_SEED, VALIDATION, recipe_of
from garments.training.replacing import WHOLE, keep_what_accepts, replacing_folder
from garments.training.scenes import Size
from garments.training.shown import Photos, check_photos
from garments.training_request import BACKENDS, TrainingError

# Height and width in pixels, upright as phones are held.
SIZE = (224, 168)
FOLDS = 3
# Catalogue shots that an epoch shows beside the photos, a tenth of them of each class.
SHOTS = 400
_DRAWN = 100
_AT_ONCE = 64

log = logging.getLogger(__name__)


def train_on_photos(
    folder: Path,
    photo_folders: Sequence[Path],
    data_directory: Path,
    dataset_directory: Path | None = None,
    *,
    architecture: str = "efficientnet-lite0",
    seeds: Sequence[int] = (0,),
    epochs: int | None = None,
    quick: bool = False,
    backend: str = BACKENDS[0],
    folds: int = FOLDS,
    size: Size = SIZE,
    shots: int = SHOTS,
    validation: int = VALIDATION,
) -> tuple[Card, Judged]:
    """Train on the photos of all `photo_folders`, and put the network in the folder `folder`.

    The contributors are parted into `folds`; for each, a network, the mean of as many as the
    recipe averages, is trained on all others and answers for its photos. Temperature, threshold
    and scores come from these answers, the network from all photos. Each fit keeps its state in
    `data_directory`, so that the same call goes on where it was interrupted. A model that accepts
    answers is not replaced by one that accepts none. Raises DatasetError and TrainingError.
    """
    check(folder, seeds, epochs, backend, for_photos=True)
    (seed,) = seeds
    recipe = recipe_of(architecture, quick=quick, epochs=epochs)
    if recipe.pretrained:
        pretrained.check()
    photos = read_photos(photo_folders)
    check_photos(photos)
    parts = parted(photos, folds)
    new = f"one trained on these {len(photos):,} photos"
    way_out = "give more labelled photos, together with the folders that it was trained on"
    if not enough(sum(NONE_OF_TEN not in photo.accepted for photo in photos)):
        keep_what_accepts(folder, ACCEPTS_NOTHING, new, way_out)
    rows = dataset.load("train", data_directory, dataset_directory)
    catalogue, held_out = dataset.split(rows, validation, SPLIT_SEED)
    # Not where it is asked about: should it lack a class, that is told before the training.
    drawn = Photos([], size, len(held_out), held_out)
    kinds = kinds_of(photos)
    how = PhotoFit(
        architecture=architecture,
        recipe=recipe,
        seed=seed,
        backend=backend,
        data_directory=data_directory,
        kinds=kinds,
        catalogue=catalogue,
        shots=shots,
        size=size,
    )
    networks, logits = _unseen(how, photos, parts)
    # Kinds for which the same classes are right need not be told apart to be answered.
    unnamed = [Kind(photo.accepted) for photo in photos]
    temperature = fit_temperature(logits, kind_targets(unnamed, kinds))
    final, trained_by = how.fitted(photos)

    def served(network: keras.Model) -> keras.Model:
        return with_probabilities(network, temperature, costs_of(kinds))

    with replacing_folder(folder) as partial:
        probabilities = _as_served(how, photos, parts, map(served, networks), partial)
        unknown = sum(photo.is_by_nobody_known for photo in photos)
        judged = judge(probabilities, targets_of(photos), parts, unknown)
        states = data_directory / "training"
        keep_what_accepts(folder, judged.threshold, new, way_out, states)
        place = partial / WHOLE
        model = served(final)
        shown = _reach(photos, size, catalogue)
        write_model(model, shown, place)
        backends = " and ".join(sorted(set(trained_by)))
        card = card_of(
            model,
            Calibration(temperature, judged.threshold, judged.chosen_by),
            shown[-1:],
            "photo",
            Origin(architecture, digest_of(photos), seed, recipe.epochs, backends, recipe.averaged),
            folder.name,
            place,
        )
        of_logits = keras.Input(logits.shape[1:])
        in_floats = served(keras.Model(of_logits, of_logits)).predict(logits, verbose=0)
        card = replace(
            card,
            validation=judged.pooled,
            scores=_otherwise(judged, photos, probabilities, _with_none(in_floats))
            | {"catalogue_shots": accuracy_of(_probabilities(place, drawn), drawn.targets)},
            runs=judged.folds,
            kinds=[*map(str, kinds)],
        )
        card.write(place)
        draw(judged, place)
    _draw_mistakes(judged, photos, states / f"{folder.name}-mistakes.jpg")
    return card, judged


def _others(photos: Sequence[Photo], part: npt.NDArray[np.intp]) -> list[Photo]:
    return [photos[row] for row in np.setdiff1d(np.arange(len(photos)), part)]


def _reach(photos: Sequence[Photo], size: Size, catalogue: Dataset) -> npt.NDArray[np.uint8]:
    """What integers have to reach: every tenth of the `photos` or so, and shots."""
    examples = Photos(photos[:: 1 + len(photos) // 200], size, _DRAWN, catalogue)
    return examples.plain(np.arange(len(examples.targets)))


def _unseen(
    how: PhotoFit, photos: Sequence[Photo], parts: Sequence[npt.NDArray[np.intp]]
) -> tuple[list[keras.Model], Floats]:
    """For each part the network that saw all others, and what these answer: (photos, kinds)."""
    networks = []
    logits = np.empty((len(photos), len(how.kinds)), np.float32)
    for part in parts:
        networks.append(how.fitted(_others(photos, part))[0])
        logits[part] = _logits(networks[-1], Photos([photos[row] for row in part], how.size))
    return networks, logits


def _as_served(
    how: PhotoFit,
    photos: Sequence[Photo],
    parts: Sequence[npt.NDArray[np.intp]],
    models: Iterable[keras.Model],
    scratch: Path,
) -> Floats:
    """What each part's model, written below `scratch`, answers for its photos: (photos, 11)."""
    probabilities = np.empty((len(photos), NONE_OF_TEN + 1), np.float32)
    for number, (part, model) in enumerate(zip(parts, models, strict=True)):
        write_model(
            model, _reach(_others(photos, part), how.size, how.catalogue), scratch / str(number)
        )
        unseen = Photos([photos[row] for row in part], how.size)
        probabilities[part] = _probabilities(scratch / str(number), unseen)
    return probabilities


def _otherwise(
    judged: Judged, photos: Sequence[Photo], probabilities: Floats, in_floats: Floats
) -> dict[str, Any]:
    """The scores of the same networks in floats, and by the labels that the photos came with."""
    came = targets_of(as_they_came(photos))
    return {
        "float32": scores(in_floats, targets_of(photos), judged.threshold),
        "as_they_came": scores(probabilities, came, judged.threshold),
    }


def _draw_mistakes(judged: Judged, photos: Sequence[Photo], sheet: Path) -> None:
    try:
        draw_mistakes(judged, photos, sheet)
        log.info("the surest mistakes: %s", sheet)
    except (OSError, BadImage) as error:
        log.warning("the model is in place, but no sheet of its surest mistakes: %s", error)


def parted(photos: Sequence[Photo], folds: int) -> list[npt.NDArray[np.intp]]:
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


def _logits(network: keras.Model, examples: Examples) -> Floats:
    """What the network answers for all of `examples`: (n, kinds)."""
    return np.concatenate(
        [network.predict(part, batch_size=_AT_ONCE, verbose=0) for part in _parts(examples)]
    )


def _probabilities(folder: Path, examples: Examples) -> Floats:
    """What the model in `folder` answers as it is served, and what is left for none: (n, 11)."""
    return _with_none(np.concatenate([probabilities_of(folder, part) for part in _parts(examples)]))


def _with_none(ten: Floats) -> Floats:
    """What ten probabilities leave for none of them is the last of (n, 11)."""
    return np.concatenate([ten, 1 - ten.sum(axis=1, keepdims=True)], axis=1)


def _parts(examples: Examples) -> Iterator[npt.NDArray[np.uint8]]:
    """The pictures of `examples`, some at a time: in the first layers each takes 10 MB."""
    rows = np.arange(len(examples.targets))
    return (examples.plain(rows[start : start + _AT_ONCE]) for start in rows[::_AT_ONCE])
