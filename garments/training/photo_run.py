"""Training on photos: judged on contributors that were not trained on, then fitted to all."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from garments import dataset
from garments.card import ACCEPTS_NOTHING, Card
from garments.network import with_probabilities
from garments.preprocess import BadImage
from garments.training import out_of_fold, pretrained
from garments.training.calibrate import fit_temperature
from garments.training.export import Calibration, Origin, card_of, write_model
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
from garments.training.shown import Photos, checked
from garments.training_request import BACKENDS

# Height and width in pixels, upright as phones are held.
SIZE = (224, 168)
FOLDS = 3
# Catalogue shots that an epoch shows beside the photos, a tenth of them of each class.
SHOTS = 400

log = logging.getLogger(__name__)


def train_on_photos(
    folder: Path,
    photo_folders: Sequence[Path],
    data_directory: Path,
    dataset_directory: Path | None = None,
    *,
    architecture: str = "efficientnet-lite1",
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
        pretrained.check(architecture)
    photos = checked(read_photos(photo_folders), size)
    parts = out_of_fold.grouped_folds(photos, folds)
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
    networks, logits = out_of_fold.fit_each(how, photos, parts)
    # Kinds for which the same classes are right need not be told apart to be answered.
    unnamed = [Kind(photo.accepted) for photo in photos]
    temperature = fit_temperature(logits, kind_targets(unnamed, kinds))
    final, trained_by = how.fitted(photos)

    def served(network: keras.Model) -> keras.Model:
        return with_probabilities(network, temperature, costs_of(kinds))

    with replacing_folder(folder) as partial:
        models = map(served, networks)
        probabilities = out_of_fold.as_served(how, photos, parts, models, partial)
        unknown = sum(photo.is_by_nobody_known for photo in photos)
        judged = judge(probabilities, targets_of(photos), parts, unknown)
        states = data_directory / "training"
        keep_what_accepts(folder, judged.threshold, new, way_out, states)
        place = partial / WHOLE
        model = served(final)
        shown = out_of_fold.representative(photos, size, catalogue)
        write_model(model, shown, place)
        backends = " and ".join(sorted(set(trained_by)))
        origin = Origin(
            architecture=architecture,
            training_data_sha256=digest_of(photos),
            seed=seed,
            epochs=recipe.epochs,
            backend=backends,
            averaged=recipe.averaged,
        )
        calibration = Calibration(temperature, judged.threshold, judged.chosen_by)
        card = card_of(model, calibration, shown[-1:], "photo", origin, folder.name, place)
        in_floats = out_of_fold.in_floats(logits, served)
        card = replace(
            card,
            validation=judged.pooled,
            scores=_otherwise(judged, photos, probabilities, in_floats)
            | {"catalogue_shots": accuracy_of(out_of_fold.ask(place, drawn), drawn.targets)},
            runs=judged.folds,
            kinds=[*map(str, kinds)],
        )
        card.write(place)
        draw(judged, place)
    _draw_mistakes(judged, photos, states / f"{folder.name}-mistakes.jpg")
    return card, judged


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
