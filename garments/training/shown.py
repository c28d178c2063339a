"""Photos, and Fashion-MNIST drawn as catalogue shots, as a network for photos is shown them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from garments.dataset import LABELS, SIDE, Dataset, DatasetError
from garments.preprocess import BadImage, Limits, read_picture, to_array
from garments.preprocess.photo import in_colour
from garments.preprocess.size import size_of
from garments.training.batches import Rows, altering
from garments.training.kinds import CLASSES_ALONE, Kind, kind_of, kind_targets
from garments.training.learner import Floats
from garments.training.photos import Photo
from garments.training.recipe import Recipe
from garments.training.scenes import Size, catalogue_shot, photographed

# As large as a camera makes them; whoever trains vouches for the files.
LIMITS = Limits(pixels=89_000_000)
_TOLD = 10  # faults that one message names

log = logging.getLogger(__name__)


class Photos:
    """Examples of photos, followed by `shots` rows that each show some catalogue shot.

    The targets are the `kinds` that each may be. A row of a shot always shows an item of its
    class, and another one every time: Fashion-MNIST has more items than an epoch has room for.
    Raises DatasetError where `catalogue` has none of a class that is to be shown.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        size: Size,
        shots: int = 0,
        catalogue: Dataset | None = None,
        kinds: Sequence[Kind] = CLASSES_ALONE,
    ) -> None:
        self.shape = (*size, 3)
        self._photos = photos
        self._size = size
        self._of_class: list[npt.NDArray[np.uint8]] = []
        classes = np.arange(shots) % len(LABELS)
        if catalogue is not None:
            numbers = range(len(LABELS))
            self._of_class = [catalogue.images[catalogue.labels == number] for number in numbers]
            for number in sorted(set(classes.tolist())):
                if not len(self._of_class[number]):
                    raise DatasetError(
                        f"of the {len(catalogue):,} pictures that shots are drawn from none is of "
                        f"the class {LABELS[number]}: use a CSV of Fashion-MNIST with more rows"
                    )
        self._classes = classes
        labels = [*map(kind_of, photos), *(CLASSES_ALONE[number] for number in classes)]
        self.targets: Floats = kind_targets(labels, kinds)

    def plain(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Photos as they are served, and of each row of a shot always the same one."""

        def as_served(photo: Photo) -> Floats:
            data = photo.path.read_bytes()
            return to_array(data, *self._size, "photo", limits=LIMITS).astype(np.float32)

        return self._pictures(rows, as_served, np.random.default_rng)

    def altered(self, rows: Rows, recipe: Recipe, *place: int) -> npt.NDArray[np.uint8]:
        """Photos, each as another photographer would take it, and shots."""
        random = altering(*place)

        def anew(photo: Photo) -> Floats:
            picture = read_picture(photo.path.read_bytes(), LIMITS, side=max(self._size))
            # Resampling looks at four pixels: one of a finer picture would be any of many.
            finer = min(picture.size) // max(self._size)
            reduced = in_colour(picture).reduce(max(1, finer))
            return photographed(reduced, self._size, random)

        return self._pictures(rows, anew, lambda _: random)

    def _pictures(
        self,
        rows: Rows,
        shown: Callable[[Photo], Floats],
        random_of: Callable[[int], np.random.Generator],
    ) -> npt.NDArray[np.uint8]:
        found = np.empty((len(rows), *self.shape), np.uint8)
        for place, row in enumerate(rows):
            if row < len(self._photos):
                photo = self._photos[row]
                try:
                    picture = shown(photo)
                except (BadImage, OSError) as error:
                    raise DatasetError(
                        f"{photo.path} cannot be trained on: {_told(error)}"
                    ) from error
            else:
                shot = int(row) - len(self._photos)
                items, random = self._of_class[self._classes[shot]], random_of(shot)
                picture = catalogue_shot(items[random.integers(len(items))], self._size, random)
            found[place] = np.clip(np.rint(picture), 0, 255)
        return found


def checked(photos: Sequence[Photo], size: Size) -> list[Photo]:
    """Those that are served as photos; of the others, as small as Fashion-MNIST, it is told.

    Finds what cannot be decoded for `size` before anything is trained. Raises DatasetError for all
    of it, and where no photo is left.
    """
    found, faults, small = [], [], []
    for photo in photos:
        try:
            data = photo.path.read_bytes()
            stored = size_of(data)
            if stored and max(stored) <= SIDE:
                small.append(photo.path)
                continue
            # As finely as it is altered: of a HEIC less may be a thumbnail alone.
            read_picture(data, LIMITS, side=max(size))
            found.append(photo)
        except (BadImage, OSError) as error:
            faults.append(f"{photo.path}: {_told(error)}")
    if faults:
        more = f" (and {len(faults) - _TOLD:,} more)" if len(faults) > _TOLD else ""
        raise DatasetError(
            f"{len(faults):,} photos cannot be trained on, remove or replace them: "
            + "; ".join(faults[:_TOLD])
            + more
        )
    if small and not found:
        raise DatasetError(
            f"there is no photo among the {len(small):,} pictures, the first {small[0]}: give "
            f"larger ones, those of at most {SIDE}×{SIDE} are for the model of Fashion-MNIST"
        )
    if small:
        log.warning(
            "%d pictures of at most %d×%d pixels are left out, since they are for the model of "
            "Fashion-MNIST, the first %s",
            len(small),
            SIDE,
            SIDE,
            small[0],
        )
    return found


def _told(error: BadImage | OSError) -> str:
    # The service's advice is to raise its own limit, which is not this one.
    if "GARMENTS_MAX_PIXELS" in str(error):
        return f"the picture has more than {LIMITS.pixels:,} pixels: make it smaller"
    return str(error)
