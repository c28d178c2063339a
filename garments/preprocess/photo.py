"""A photo in colour, as a network for photos sees it: all of it, at the network's size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from garments.preprocess.item import on_white


def photo(picture: Image.Image, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The whole picture in the network's shape: (height, width, 3), alpha laid on white.

    It is stretched rather than cut or framed: no part of an item is lost and no pixel spent on
    a frame, and training stretches photos further than upright or lying ones differ.
    """
    opaque = on_white(picture).convert("RGB")
    return np.asarray(opaque.resize((width, height), Image.Resampling.BICUBIC))
