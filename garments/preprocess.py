"""From the bytes of an image file to the uint8 array that a model's card asks for."""

from __future__ import annotations

import io
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*")

# A picture is brought down to this before the item is looked for: eight times the side of
# the model's input, so that an item which fills an eighth of the frame keeps its detail.
_WORKING_SIDE = 224
# The paper calls a pixel border when it is within 5 % of the corner's intensity. JPEG noise
# on a white sheet reaches that, so the bound here is a little wider.
_BORDER_TOLERANCE = 20
_MOST_UNEVENNESS = 90

_Number = TypeVar("_Number", bound=np.number)
Code = Literal["empty_image", "unsupported_type", "too_many_pixels", "unreadable_image"]


class BadImage(Exception):
    """The bytes are no picture that can be classified; `code` names why, the text explains."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code: Code = code


def to_array(
    data: bytes, height: int, width: int, name: str, *, max_pixels: int
) -> npt.NDArray[np.uint8]:
    """Read `data` and shape it as the preprocessing called `name` says: (height, width, 1).

    Raises BadImage, and KeyError for a preprocessing that this version does not know.
    """
    shape = PREPROCESSING[name]
    return shape(read_picture(data, max_pixels=max_pixels), height, width)


def read_picture(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode the first frame of a picture, upright, as "L", "LA", "RGB" or "RGBA".

    The format is told by content. A large JPEG is decoded at a reduced scale, and its size
    is checked before anything is decoded. Raises BadImage.
    """
    if not data:
        raise BadImage("empty_image", "the picture has no bytes: was the file still being written?")
    # Broken files make Pillow's decoders raise nearly anything (ValueError, struct.error,
    # IndexError, MemoryError, …); whatever they raise, the picture cannot be read.
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        if picture.width * picture.height > max_pixels:
            raise Image.DecompressionBombError
        picture.draft(None, (_WORKING_SIDE, _WORKING_SIDE))
        return _upright(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        detail = f"the picture has more than {max_pixels:,} pixels: send a smaller one"
        raise BadImage("too_many_pixels", detail) from error
    except Exception as error:
        if data.startswith(_SIGNATURES):
            detail = "the picture is damaged or incomplete and cannot be decoded"
            raise BadImage("unreadable_image", detail) from error
        detail = f"the file is not a picture of a type that is served ({', '.join(FORMATS)})"
        raise BadImage("unsupported_type", detail) from error


def _upright(picture: Image.Image) -> Image.Image:
    """Decode and turn by the EXIF orientation; keep an alpha that shows, drop other oddities."""
    picture.load()
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        picture = _to_eight_bits(picture)
    elif picture.mode in ("P", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
    elif picture.mode not in ("L", "LA", "RGB", "RGBA"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    if picture.mode in ("LA", "RGBA") and picture.getextrema()[-1] == (255, 255):
        picture = picture.convert("L" if picture.mode == "LA" else "RGB")
    ImageOps.exif_transpose(picture, in_place=True)
    return picture


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    """Scale samples of 16 bits or more, or real ones, to 0…255; Pillow would clip them."""
    samples = np.nan_to_num(np.asarray(picture, dtype=np.float64), posinf=0.0, neginf=0.0)
    if picture.mode.startswith("I;16"):
        top = 65535.0
    else:  # the file does not tell their range: take the smallest usual one that holds them
        most = float(samples.max())
        top = next((bound for bound in (1.0, 255.0, 65535.0) if most <= bound), most)
    return Image.fromarray(np.clip(samples * (255.0 / top), 0, 255).astype(np.uint8))


def fashion_mnist(picture: Image.Image, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Give a picture the look of Fashion-MNIST: (height, width, 1), item bright on black.

    One that already has the size and is grey is taken as it is. Any other goes the way of
    the dataset's paper (Xiao, Rasul and Vollgraf, arXiv 1708.07747, section 2): alpha laid on
    white, trimmed to the item by the colour of the border, grey, longest edge fitted,
    centred, negated when the background is light. The paper's pictures had an even
    background; one that is not is blacked out, or it would be taken for a part of the item.
    """
    if (picture.height, picture.width) == (height, width) and _is_grey(picture):
        return np.asarray(picture.convert("L"))[..., None]
    opaque = _on_white(picture)
    if max(opaque.size) > _WORKING_SIDE:
        size = _fitted(opaque.size, _WORKING_SIDE, _WORKING_SIDE)
        opaque = opaque.resize(size, Image.Resampling.BOX)
    grey = np.asarray(opaque.convert("L"))
    strays, unevenness = _strays_from_border(opaque)
    item = np.where(strays > unevenness, 255 - grey if _is_light(_border(grey)) else grey, 0)
    left, top, right, bottom = _item_box(strays, unevenness)
    cut = Image.fromarray(item[top:bottom, left:right].astype(np.uint8))
    cut = cut.resize(_fitted(cut.size, width, height), Image.Resampling.LANCZOS)
    canvas = Image.new("L", (width, height))
    # Where the margins cannot be equal, the dataset has its odd row or column before the item.
    canvas.paste(cut, ((width - cut.width + 1) // 2, (height - cut.height + 1) // 2))
    return np.asarray(canvas)[..., None]


PREPROCESSING = {"fashion-mnist": fashion_mnist}


def _fitted(size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """`size` scaled to touch the bounds from within; a side is never less than a pixel."""
    scale = min(width / size[0], height / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _on_white(picture: Image.Image) -> Image.Image:
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
    strays = np.abs(pixels - colour).max(axis=-1)
    return strays, min(1.5 * float(np.percentile(_border(strays), 75)), _MOST_UNEVENNESS)


def _item_box(strays: npt.NDArray[np.int16], unevenness: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the item; of all where nothing stands out."""
    item = strays > max(unevenness, _BORDER_TOLERANCE)
    # On an even background every pixel that stands out counts; elsewhere a tenth of a line must.
    share = 0.1 if unevenness > _BORDER_TOLERANCE else 0.0
    rows = np.flatnonzero(item.mean(axis=1) > share)
    columns = np.flatnonzero(item.mean(axis=0) > share)
    if not len(rows) or not len(columns):
        return 0, 0, item.shape[1], item.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
