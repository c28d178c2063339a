"""From the bytes of an image file to a checked, upright picture."""

from __future__ import annotations

import io
import re
from typing import Literal

import numpy as np
from PIL import ExifTags, Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# How files of these formats begin, to tell a damaged picture from what is none.
_SIGNATURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG|RIFF....WEBP|GIF8|BM|II[*+]\0|MM\0[*+]", flags=re.DOTALL
)
# A progressive JPEG has about ten scans; each further one costs a pass over the whole picture.
_MOST_SCANS = 100
_START_OF_SCAN = b"\xff\xda"

# In pixels: pictures are brought down to this before the item is looked for, so that an item
# which fills an eighth of the frame still has as many pixels as an input of 28. A JPEG need not
# even be decoded at more.
WORKING_SIDE = 224

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Code = Literal["empty_image", "unsupported_type", "too_many_pixels", "unreadable_image"]


class BadImage(Exception):
    """The bytes are no picture that can be classified; `code` names why, the text explains."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code: Code = code


def read_picture(data: bytes, *, max_pixels: int, side: int = WORKING_SIDE) -> Image.Image:
    """Decode the first frame of a picture, upright, as "L", "LA", "RGB" or "RGBA".

    The format is told by content. A large JPEG is decoded at a reduced scale, but with no side
    below `side` pixels, and its size is checked before anything is decoded. Raises BadImage.
    """
    if not data:
        raise BadImage("empty_image", "the picture has no bytes: was the file still being written?")
    # Broken files make Pillow's decoders raise nearly anything (ValueError, struct.error,
    # IndexError, MemoryError, …); whatever they raise, the picture cannot be read.
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        if picture.format == "JPEG" and data.count(_START_OF_SCAN) > _MOST_SCANS:
            raise OSError("more scans than any camera writes")
        if picture.width * picture.height > max_pixels:
            raise Image.DecompressionBombError
        picture.draft(None, (side, side))
        return _upright(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        detail = f"the picture has more than {max_pixels:,} pixels: send a smaller one"
        raise BadImage("too_many_pixels", detail) from error
    except Exception as error:
        if _SIGNATURE.match(data):
            detail = "the picture is damaged or incomplete and cannot be decoded"
            raise BadImage("unreadable_image", detail) from error
        detail = f"the file is not a picture of a type that is served ({', '.join(FORMATS)})"
        raise BadImage("unsupported_type", detail) from error


def _upright(picture: Image.Image) -> Image.Image:
    """Decode and turn by the EXIF orientation; keep an alpha that shows, drop other oddities."""
    picture.load()
    turn = _turn(picture)
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        picture = _to_eight_bits(picture)
    elif picture.mode in ("P", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
    elif picture.mode not in ("L", "LA", "RGB", "RGBA"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    if picture.mode in ("LA", "RGBA") and picture.getextrema()[-1] == (255, 255):
        picture = picture.convert("L" if picture.mode == "LA" else "RGB")
    return picture if turn is None else picture.transpose(turn)


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """What the EXIF orientation asks to be done; nothing where the EXIF is broken."""
    try:
        return _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 (the parser raises as many things as the decoders)
        return None


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    """Scale samples of 16 bits or more, or real ones, to 0…255; Pillow would clip them."""
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
    samples = np.nan_to_num(np.asarray(picture, dtype=np.float64), posinf=0.0, neginf=0.0)
    # The file does not tell their range: take the smallest usual one that holds them.
    most = float(samples.max())
    top = next((bound for bound in (1.0, 255.0, 65535.0) if most <= bound), most)
    return Image.fromarray(np.clip(samples * (255.0 / top), 0, 255).astype(np.uint8))
