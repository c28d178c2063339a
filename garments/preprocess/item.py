"""From a picture to the look of the pictures that a model was trained on."""

from __future__ import annotations

import functools
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from garments.preprocess.picture import WORKING_SIDE

# In steps of 255: the paper calls a pixel border when it is within 5 % of the corner's
# intensity. JPEG noise on a white sheet reaches that, so the bound here is a little wider.
_BORDER_TOLERANCE = 20
# In steps of 255: beyond this a border is so uneven that calling it background hides the item.
_MOST_UNEVENNESS = 90

_Number = TypeVar("_Number", bound=np.number)


def fashion_mnist(picture: Image.Image, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Give a picture the look of Fashion-MNIST: (height, width, 1), item bright on black.

    One that already has the size and is grey is taken as it is. Any other goes the way of
    the dataset's paper (Xiao, Rasul and Vollgraf, arXiv 1708.07747, section 2): alpha laid on
    white, trimmed to the item by the colour of the border, grey, longest edge fitted,
    centred, negated when the background is light. The paper's pictures had an even
    background; one that is not is blacked out, or it would be taken for a part of the item.
    """
    if (picture.height, picture.width) == (height, width) and _is_grey(picture):
        grey = picture if picture.mode == "L" else picture.convert("L")
        # Quicker than asarray, which for so small a picture takes as long as half its decoding.
        return np.frombuffer(grey.tobytes(), np.uint8).reshape(height, width, 1)
    opaque = on_white(picture)
    if max(opaque.size) > WORKING_SIDE:
        size = fitted(opaque.size, WORKING_SIDE, WORKING_SIDE)
        opaque = opaque.resize(size, Image.Resampling.BOX)
    opaque = _without_frame(opaque)
    shades = np.asarray(opaque.convert("L"))
    strays, unevenness = _strays_from_border(opaque)
    bright = 255 - shades if _is_light(_border(shades)) else shades
    item = np.where(strays > unevenness, bright, 0)
    left, top, right, bottom = _item_box(strays, unevenness)
    cut = Image.fromarray(item[top:bottom, left:right].astype(np.uint8))
    cut = cut.resize(fitted(cut.size, width, height), Image.Resampling.LANCZOS)
    canvas = Image.new("L", (width, height))
    # Where the margins cannot be equal, the dataset has its odd row or column before the item.
    canvas.paste(cut, ((width - cut.width + 1) // 2, (height - cut.height + 1) // 2))
    return np.asarray(canvas)[..., None]


def fitted(size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """`size` scaled to touch the bounds from within; a side is never less than a pixel."""
    scale = min(width / size[0], height / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def on_white(picture: Image.Image) -> Image.Image:
    """The picture without alpha, as "L" or "RGB"."""
    if picture.mode in ("LA", "RGBA"):
        sheet = Image.new("RGBA", picture.size, "white")
        sheet.alpha_composite(picture.convert("RGBA"))
        return sheet.convert("RGB")
    return picture


def _is_grey(picture: Image.Image) -> bool:
    """Whether a picture has neither colour nor alpha, however it was stored."""
    if picture.mode == "RGB":
        # A colour JPEG of a grey picture strays by a step or two.
        return bool(np.ptp(np.asarray(picture), axis=-1).max() <= 2)
    return picture.mode == "L"


def _border(pixels: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """The outermost pixels of (h, w, …), one after the other."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _is_light(border: npt.NDArray[np.uint8]) -> bool:
    return float(np.median(border)) > 127


def _strays_from_border(picture: Image.Image) -> tuple[npt.NDArray[np.int16], float]:
    """How far each pixel (h, w) is from the border's colour, and how uneven the border is.

    The distance is the largest over the channels. The unevenness is half again as far as
    three quarters of the border stray; the factor and the share did best on photos of clothes.
    """
    pixels = np.asarray(picture, dtype=np.int16).reshape(picture.height, picture.width, -1)
    colour = np.median(_border(pixels), axis=0).astype(np.int16)
    channels = np.moveaxis(np.abs(pixels - colour), -1, 0)
    strays = functools.reduce(np.maximum, channels)  # thrice as fast as a maximum over the axis
    return strays, min(1.5 * float(np.percentile(_border(strays), 75)), _MOST_UNEVENNESS)


def _without_frame(picture: Image.Image) -> Image.Image:
    """Cut off even bars at the edges, such as a screenshot has, and a frame."""
    pixels = np.asarray(picture).reshape(picture.height, picture.width, -1)
    for _ in range(4):
        pixels = np.rot90(pixels)[_bar(np.rot90(pixels)) :]
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if picture.mode == "L" else pixels))


def _bar(pixels: npt.NDArray[np.uint8]) -> int:
    """How many lines at the top are a bar: even ones, then an even one of another colour."""
    edge = 1 + pixels.shape[1] // 50  # there the line below a bar may belong to a frame
    core = pixels[:, edge:-edge]
    if core.size == 0 or np.ptp(core[0], axis=0).max() > 2 * _BORDER_TOLERANCE:
        return 0
    darkest, lightest = core.min(axis=1).astype(np.int16), core.max(axis=1).astype(np.int16)
    even = (lightest - darkest).max(axis=-1) <= 2 * _BORDER_TOLERANCE
    middle = (lightest + darkest) // 2
    other = np.abs(middle - middle[0]).max(axis=-1) > _BORDER_TOLERANCE
    ends = np.flatnonzero(other | ~even)
    if not len(ends):
        return 0
    # Scaling may have blurred a line or two between the bar and what it frames.
    for line in range(ends[0], min(ends[0] + 3, len(pixels))):
        if even[line] and other[line]:
            return int(line)
    return 0


def _item_box(strays: npt.NDArray[np.int16], unevenness: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the item; of all where nothing stands out."""
    item = strays > max(unevenness, _BORDER_TOLERANCE)
    if min(item.shape) >= WORKING_SIDE // 4:  # in a smaller picture a dot may be the item's edge
        without_dots = np.asarray(
            Image.fromarray(item).convert("L").filter(ImageFilter.MedianFilter())
        )
        item = without_dots > 0 if without_dots.any() else item
    # On an even background every pixel that stands out counts; elsewhere a tenth of a line must.
    share = 0.1 if unevenness > _BORDER_TOLERANCE else 0.0
    rows = np.flatnonzero(item.mean(axis=1) > share)
    columns = np.flatnonzero(item.mean(axis=0) > share)
    if not len(rows) or not len(columns):
        return 0, 0, item.shape[1], item.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
