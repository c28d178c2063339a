"""Training on photos: judged on contributors that were not trained on, then fitted to all."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from garments import dataset
from garments.card import Card
from garments.network import ARCHITECTURES
from garments.training import checkpoint
from garments.training.batches import Examples
from garments.training.checkpoint import checkpoint_path
from garments.training.errors import TrainingError
from garments.training.export import Calibration, Origin, export
from garments.training.fit import BACKENDS, fit
from garments.training.judge import CLASSES, Judged, draw, judge
from garments.training.learner import AT_ONCE, Floats
from garments.training.photos import Photo, digest_of, read_photos, targets_of
from garments.training.recipe import RECIPES
from garments.training.replacing import WHOLE, replacing
from garments.training.run import SPLIT_SEED, VALIDATION, check
from garments.training.shown import Photos

# Pixels. Items look larger in what training cuts from its photos, so a network answers best when it
# is served more pixels than it was trained on: Touvron et al., arXiv 1906.06423. And it costs less.
SIDE = 160
TRAINED_SIDE = 128
FOLDS = 3
# Catalogue shots that an epoch shows beside the photos, a tenth of them of each class.
SHOTS = 500
# Photos that a network answers for in one go: in the first layers each takes 10 MB.
_BATCH = 50


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
    side: int = SIDE,
    trained_side: int = TRAINED_SIDE,
    shots: int = SHOTS,
) -> tuple[Card, Judged]:
    """Train on the photos of all `photo_folders`, and put the network in the folder `folder`.

    The contributors are parted into `folds`; for each, a network is trained on all others and
    answers for its photos. Temperature, threshold and scores come from these answers, the
    network from all photos. Each fit keeps its state in `data_directory`, so that the same call
    goes on where it was interrupted. Raises DatasetError and TrainingError.
    """
    check(folder, seeds, epochs, backend)
    if len(seeds) > 1:
        raise TrainingError("on photos one seed is trained, for each fold: give one")
    (seed,) = seeds
    recipe = RECIPES[architecture].quick() if quick else RECIPES[architecture]
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs)
    photos = read_photos(photo_folders)
    parts = _parted(photos, folds)
    rows = dataset.load("train", data_directory, dataset_directory)
    catalogue, held_out = dataset.split(rows, VALIDATION, SPLIT_SEED)

    def fitted(kept: Sequence[Photo]) -> tuple[keras.Model, list[str]]:
        """The network for pictures as they are served, and what trained it."""
        examples = Photos(kept, trained_side, shots, catalogue)
        digest = f"{digest_of(kept)} {catalogue.digest} {trained_side} {shots}"
        state = checkpoint_path(data_directory, architecture, recipe, digest, seed)
        with checkpoint.locked(state):
            found = fit(architecture, recipe, examples, None, seed, backend, state)
        weights = found.network.get_weights()
        keras.utils.clear_session()
        network = ARCHITECTURES[architecture]((side, side, 3), len(CLASSES))
        network.set_weights(weights)
        return network, found.backends

    logits = np.empty((len(photos), len(CLASSES)), np.float32)
    for part in parts:
        kept = [photos[row] for row in np.setdiff1d(np.arange(len(photos)), part)]
        network, _ = fitted(kept)
        logits[part] = _answers(network, Photos([photos[row] for row in part], side))
    judged = judge(logits, targets_of(photos), parts)

    network, trained_by = fitted(photos)
    with replacing(folder) as partial:
        backends = " and ".join(sorted(set(trained_by)))
        origin = Origin(architecture, digest_of(photos), seed, recipe.epochs, backends)
        calibration = Calibration(judged.temperature, judged.threshold, judged.chosen_by)
        drawn = Photos([], side, len(held_out), held_out)
        golden = drawn.plain(np.arange(1))
        place = partial / WHOLE
        card = export(network, calibration, golden, origin, folder.name, place)
        named = _answers(network, drawn).argmax(axis=1)
        right = drawn.targets[np.arange(len(named)), named]
        card = replace(
            card,
            validation=judged.pooled,
            scores={"catalogue_shots": {"count": len(right), "accuracy": float(right.mean())}},
            runs=judged.folds,
        )
        card.write(place)
        draw(judged, place)
    return card, judged


def _parted(photos: Sequence[Photo], folds: int) -> list[npt.NDArray[np.intp]]:
    """The rows of `folds` parts, with no contributor in two and the classes in like shares."""
    senders = np.array([photo.sender for photo in photos])
    if not 2 <= folds <= len(set(senders)):
        raise TrainingError(
            f"{len(set(senders))} contributors cannot be parted into {folds} folds: "
            "photos of at least two people are needed to judge by one what others taught"
        )
    classes = [str(sorted(photo.accepted)) for photo in photos]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer photos than folds
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=SPLIT_SEED)
        return [rows for _, rows in splitter.split(senders, classes, senders)]


def _answers(network: keras.Model, examples: Examples) -> Floats:
    """The logits of `examples` (n, classes)."""
    rows = np.arange(len(examples.targets))
    parts = [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
    found = [network.predict(examples.plain(part), batch_size=_BATCH, verbose=0) for part in parts]
    return np.concatenate(found)
