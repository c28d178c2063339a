"""From the bytes of an image file to the uint8 array that a model's card asks for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from garments.preprocess.item import fashion_mnist, on_white
from garments.preprocess.photo import photo
from garments.preprocess.picture import FORMATS, BadImage, Limits, read_picture
from garments.preprocess.quiet import hush_decoders

__all__ = [
    "FORMATS",
    "PREPROCESSING",
    "BadImage",
    "Limits",
    "hush_decoders",
    "on_white",
    "read_picture",
    "to_array",
]

PREPROCESSING = {"fashion-mnist": fashion_mnist, "photo": photo}


def to_array(
    data: bytes, height: int, width: int, name: str, *, limits: Limits
) -> npt.NDArray[np.uint8]:
    """Read `data` and shape it as the preprocessing called `name` says: (height, width, channels).

    Raises BadImage, KeyError for a preprocessing that this version does not know, and ImportError
    where what reads HEIC is not installed.
    """
    shape = PREPROCESSING[name]
    # An item is cut out of its picture first, which therefore needs more pixels than the input.
    frame = None if name == "fashion-mnist" else (height, width)
    return shape(read_picture(data, limits, frame=frame), height, width)
