"""A photo in colour, as a network for photos sees it: all of it, at the network's size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from garments.preprocess.item import fitted, on_white


def photo(picture: Image.Image, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The whole picture in the network's shape: (height, width, 3), alpha laid on white.

    It is framed in its mean colour rather than cut or stretched: no part of an item is lost, and
    a dress stays longer than a shirt, whichever way the photo was taken.
    """
    opaque = in_colour(picture)
    inside = fitted(opaque.size, width, height)
    seen = opaque.resize(inside, Image.Resampling.BICUBIC)
    if inside == (width, height):
        return np.asarray(seen)
    framed = Image.new("RGB", (width, height), mean_colour(seen))
    framed.paste(seen, ((width - inside[0]) // 2, (height - inside[1]) // 2))
    return np.asarray(framed)


def in_colour(picture: Image.Image) -> Image.Image:
    """The picture as RGB, alpha laid on white."""
    return on_white(picture).convert("RGB")


def mean_colour(picture: Image.Image) -> tuple[int, int, int]:
    """The mean of an RGB picture: red, green and blue, from 0 to 255."""
    red, green, blue = np.asarray(picture.resize((1, 1), Image.Resampling.BOX))[0, 0].tolist()
    return red, green, blue
