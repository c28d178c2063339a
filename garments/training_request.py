"""What `train_model.py` may be asked for, read and checked without loading Keras.

So help and refusals are there at once, also where nothing but what serves is installed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from garments.terminal import path

FOR_PHOTOS = ("efficientnet-lite0", "efficientnet-lite1")
FOR_CATALOGUE = ("reference", "residual", "residual-fine", "residual-large")
BACKENDS = ("tensorflow", "torch")


class TrainingError(Exception):
    """Training was asked for what it cannot do; the text says what."""


@dataclass(frozen=True)
class Request:
    """What is asked for: each field an option of the command line."""

    name: str | None = None
    photos: Sequence[Path] = ()
    architecture: str | None = None
    seeds: Sequence[int] = ()
    epochs: int | None = None
    quick: bool = False
    backend: str = BACKENDS[0]
    teachers: Sequence[Path] = ()

    @property
    def folder_name(self) -> str:
        """Where the model goes, in the folder of all models."""
        return self.name or ("photo" if self.photos else "fashion-mnist")

    @property
    def network(self) -> str:
        """The architecture that is trained."""
        return self.architecture or ("efficientnet-lite1" if self.photos else "residual")

    @property
    def trained_seeds(self) -> Sequence[int]:
        """The seeds of the networks that are trained."""
        return self.seeds or (0,)


def parser(description: str | None) -> argparse.ArgumentParser:
    """What reads the command line, for `Request`."""
    made = argparse.ArgumentParser(description=description)
    add = made.add_argument
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    folders = "folders of labelled photos to train on; default: Fashion-MNIST"
    add("--photos", type=path, **several, metavar="DIR", help=folders)
    default = "the network; default: residual, for photos efficientnet-lite1"
    add("--architecture", choices=(*FOR_CATALOGUE, *FOR_PHOTOS), help=default)
    add("--name", help="folder in model/; default: fashion-mnist, for photos photo")
    seeds = "a network for each, of which the best is kept; default: 0"
    add("--seeds", "--seed", type=int, **several, metavar="N", help=seeds)
    add("--epochs", type=int, metavar="N", help="default: as suits the architecture")
    add("--quick", action="store_true", help="a few minutes' worth of training")
    add("--backend", choices=BACKENDS, default=BACKENDS[0], help=f"default: {BACKENDS[0]}")
    taught = "model folders whose answers it learns beside the labels; not for photos"
    add("--teachers", type=path, **several, metavar="DIR", help=taught)
    return made


def check(request: Request, *, keras: str) -> None:
    """Refuse what cannot be meant, whatever is installed. Raises TrainingError.

    `keras` is what the variable KERAS_BACKEND says.
    """
    if keras != "tensorflow":
        raise TrainingError(
            f"KERAS_BACKEND is {keras!r}, and networks can only be exported from TensorFlow: "
            "unset it; --backend says what trains"
        )
    name, for_photos = request.name, bool(request.photos)
    if name is not None and not re.fullmatch(r"\w[\w.-]*", name):
        raise TrainingError(f"{name!r} is no name for a folder: use letters, digits, - and _")
    if for_photos and request.network not in FOR_PHOTOS:
        raise TrainingError(f"{request.network} is not for photos: leave out --architecture")
    if not for_photos and request.network in FOR_PHOTOS:
        raise TrainingError(
            f"{request.network} learns from photos in colour: give some with --photos"
        )
    if for_photos and request.teachers:
        raise TrainingError("photos have labels alone to learn from: leave out --teachers")
    check_numbers(request.seeds, request.epochs, for_photos=for_photos)
    for folder in request.photos:
        if not folder.is_dir():
            raise TrainingError(f"{folder} is no folder: docs/training.md tells what it may have")


def check_numbers(seeds: Sequence[int], epochs: int | None, *, for_photos: bool) -> None:
    """Refuse `seeds` and `epochs` that cannot be trained with. Raises TrainingError."""
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise TrainingError(f"the seed {seed} is not from 0 to {2**32 - 1}")
    if len(set(seeds)) < len(seeds):
        raise TrainingError("a seed is given twice: it would come to the same network")
    if for_photos and len(seeds) > 1:
        raise TrainingError("on photos one seed is trained, for each fold: give one")
    if epochs is not None and epochs < 1:
        raise TrainingError(f"{epochs} epochs: train for at least 1")


def how_to_install(request: Request) -> str:
    """What to do where a package is missing that such a training needs."""
    if request.photos or request.backend == "torch":
        install = "make torch installs all that training on photos or with PyTorch needs"
    else:
        install = "make .venv/.everything installs what training needs"
    return f"{install}, and .venv/bin/python train_model.py runs with it"
