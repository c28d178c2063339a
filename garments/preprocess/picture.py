"""From the bytes of an image file to a checked, upright picture."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

# The plugins by name, so that Pillow never goes looking for more of them.
from PIL import ExifTags, Image, ImageChops, TiffImagePlugin, WebPImagePlugin  # noqa: F401

from garments.preprocess.chunks import TooManyChunks, as_file
from garments.preprocess.frames import count_frames
from garments.preprocess.heic import largest_part
from garments.preprocess.misread import is_negative, make_visible, prepare
from garments.preprocess.scans import count_scans
from garments.preprocess.tiff import largest_tile

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIC")
# How files of these formats begin. Only the decoder of the one that matches is ever tried.
_SIGNATURE = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG)|(?P<WEBP>RIFF....WEBP)|(?P<GIF>GIF8)|(?P<BMP>BM)"
    rb"|(?P<TIFF>II[*+]\0|MM\0[*+])|(?P<HEIC>....ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1))",
    flags=re.DOTALL,
)

# In pixels: pictures are brought down to this before the item is looked for, so that an item
# which fills an eighth of the frame still has as many pixels as an input of 28. A JPEG need not
# even be decoded at more.
WORKING_SIDE = 224
# Pictures with more pixels are decoded one at a time in a process and reduced tile by tile before
# any conversion: both take much memory.
_LARGE = 4_000_000
_TILE_SIDE = 512  # in pixels
# In pixels: by how much what is unpacked may be beyond the bound, as with a small picture in a
# tile of a usual size, or with the margin that an encoder adds to a HEIC.
_BESIDE = 2**20
# In pixels, and the most that a JPEG or a GIF can have. For a picture of many short lines Pillow
# keeps more about the lines than about the pixels.
_LONGEST_SIDE = 65_535
_one_large_picture = threading.Lock()

# Where Pillow looks for an orientation, in `info`; a TIFF has it among its own tags.
_EXIF = ("exif", "Raw profile type exif")
_WITH_ORIENTATION = (*_EXIF, "XML:com.adobe.xmp", "xmp")
_MOST_EXIF = 2**19  # in bytes: Pillow makes something of each value
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Code = Literal[
    "empty_image",
    "unsupported_type",
    "too_many_pixels",
    "too_many_frames",
    "too_many_scans",
    "unreadable_image",
]


@dataclass(frozen=True)
class Limits:
    """What a file may ask of its decoder."""

    pixels: int = 25_000_000
    frames: int = 1000
    # A progressive JPEG has about ten; each further one costs a pass over the whole picture.
    scans: int = 100


class BadImage(Exception):
    """The bytes are no picture that can be classified; `code` names why, the text explains."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code: Code = code


def read_picture(
    data: bytes,
    limits: Limits,
    side: int = WORKING_SIDE,
    frame: tuple[int, int] | None = None,
) -> Image.Image:
    """Decode the first frame of a picture, upright, as "L", "LA", "RGB" or "RGBA".

    The format is told by content. A large JPEG is decoded at a reduced scale, but with no side
    below `side` pixels; or, where it is only to be fitted into a `frame` (height, width), no
    smaller than it is there. Of a HEIC its thumbnail is enough, and any other large picture is
    reduced thereafter. What the file asks for is checked before anything is decoded. Raises
    BadImage, and ImportError where what reads HEIC is not installed.
    """
    if not data:
        raise BadImage("empty_image", "the picture has no bytes: was the file still being written?")
    if not _SIGNATURE.match(data):
        detail = f"the file is not a picture of a type that is served ({', '.join(FORMATS)})"
        raise BadImage("unsupported_type", detail)
    # Broken files make Pillow's decoders raise nearly anything (ValueError, struct.error,
    # IndexError, MemoryError, …); whatever they raise, the picture cannot be read. Only that a
    # library is not there is no fault of the picture.
    try:
        picture = open_picture(data)
        whole = _unpacked(picture, data)
        _check(picture, whole, data, limits)
        size = _fitted(picture.size, frame) if frame else (side, side)
        is_less = picture.draft(None, size) is not None and _area(picture) <= _LARGE
        if whole <= _LARGE or (is_less and not _is_kept_whole(picture, data)):
            return _upright(picture)
        with _one_large_picture:
            return _upright(picture)
    except (BadImage, ImportError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(limits) from error
    except TooManyChunks as error:
        raise BadImage("unreadable_image", str(error)) from error
    except Exception as error:
        detail = (
            "the picture is damaged or incomplete, or of a kind that is not read: save it anew as "
            "a JPEG or a PNG"
        )
        raise BadImage("unreadable_image", detail) from error


def open_picture(data: bytes) -> Image.Image:
    """The file with its header read, by the one plugin for its format.

    Raises ValueError for a file that begins as none does, and nearly anything for a broken one.
    """
    signature = _SIGNATURE.match(data)
    if not signature:
        raise ValueError("the file is of no format that is served")
    kind = str(signature.lastgroup)
    if kind == "HEIC":
        # Only where such a photo comes: the library takes 20 MiB.
        import pillow_heif

        pillow_heif.register_heif_opener(decode_threads=1, depth_images=False, aux_images=False)
        kind = "HEIF"
    return Image.open(as_file(data, kind), formats=(kind,))


def _is_kept_whole(picture: Image.Image, data: bytes) -> bool:
    """Whether all of a JPEG is in memory at whatever scale it is decoded: if it is in scans."""
    return _is_jpeg(picture) and ("progressive" in picture.info or count_scans(data, 1) > 1)


def _is_jpeg(picture: Image.Image) -> bool:
    # Pillow calls a JPEG MPO that has further ones in it, as some phones write them.
    return picture.format in ("JPEG", "MPO")


def _unpacked(picture: Image.Image, data: bytes) -> int:
    """The most pixels that are unpacked at once, which may be more than the picture has."""
    if picture.format == "TIFF":
        return max(_area(picture), largest_tile(data))
    if picture.format == "HEIF":
        return max(_area(picture), largest_part(data))
    return _area(picture)


def _check(picture: Image.Image, unpacked: int, data: bytes, limits: Limits) -> None:
    """Raise BadImage where decoding would take too much."""
    if _area(picture) > limits.pixels or unpacked > limits.pixels + _BESIDE:
        raise _too_many_pixels(limits)
    if max(picture.size) > _LONGEST_SIDE:
        detail = f"the picture has a side of more than {_LONGEST_SIDE:,} pixels: send a smaller one"
        raise BadImage("too_many_pixels", detail)
    if _is_jpeg(picture) and count_scans(data, limits.scans) > limits.scans:
        detail = f"the JPEG has more than {limits.scans:,} scans: save it as a baseline JPEG"
        raise BadImage("too_many_scans", detail)
    if count_frames(picture, data, limits.frames) > limits.frames:
        detail = f"the file has more than {limits.frames:,} frames: send the first alone"
        raise BadImage("too_many_frames", detail)


def _fitted(size: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int]:
    """What a picture of `size` has once it fits into `frame`, where both lie or both stand.

    Which way the picture is to be turned is known only later; the other way it is smaller.
    """
    scale = min(min(frame) / min(size), max(frame) / max(size))
    return math.ceil(size[0] * scale), math.ceil(size[1] * scale)


def _area(picture: Image.Image) -> int:
    width, height = picture.size
    return width * height


def _too_many_pixels(limits: Limits) -> BadImage:
    detail = (
        f"the picture has more than {limits.pixels:,} pixels: send a smaller one, or have "
        "GARMENTS_MAX_PIXELS raised"
    )
    return BadImage("too_many_pixels", detail)


def _upright(picture: Image.Image) -> Image.Image:
    """Decode and turn by the EXIF orientation; keep an alpha that shows, drop other oddities."""
    if picture.format == "TIFF":
        prepare(picture)
    picture.load()
    if picture.format == "BMP":
        make_visible(picture)
    turn = _turn(picture)
    top = _top(picture)
    negative = is_negative(picture)
    if _area(picture) > _LARGE:
        picture = _reduced(picture, max(picture.size) // (4 * WORKING_SIDE), top)
    else:
        picture = _plain(picture, top)
    if negative:
        picture = ImageChops.invert(picture)
    if picture.mode in ("LA", "RGBA") and picture.getextrema()[-1] == (255, 255):
        picture = picture.convert("L" if picture.mode == "LA" else "RGB")
    return picture if turn is None else picture.transpose(turn)


def _plain(picture: Image.Image, top: float) -> Image.Image:
    """The picture as "L", "LA", "RGB" or "RGBA"; `top` is the sample that is white."""
    if picture.mode.startswith("I;16"):  # Pillow would clip them
        return Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
    if picture.mode in ("I", "F"):
        samples = _samples(picture) * (255.0 / top)
        return Image.fromarray(np.clip(samples, 0, 255).astype(np.uint8))
    if picture.mode in ("La", "RGBa"):  # colours multiplied by alpha, as a HEIC may have them
        return picture.convert(picture.mode.upper())
    if picture.mode in ("P", "PA") or "transparency" in picture.info:
        return picture.convert("RGBA")
    if picture.mode not in ("L", "LA", "RGB", "RGBA"):
        return picture.convert("L" if picture.mode == "1" else "RGB")
    return picture


def _reduced(picture: Image.Image, factor: int, top: float) -> Image.Image:
    """The picture made plain and `factor` times smaller, with little memory beside its own."""
    small: Image.Image | None = None
    # Whole multiples of the factor, so that no block of pixels that becomes one is cut.
    for left, above, tile in _tiles(picture, max(1, _TILE_SIDE // factor) * factor):
        part = _plain(tile, top).reduce(factor)
        if small is None:
            size = (-(-picture.width // factor), -(-picture.height // factor))
            small = Image.new(part.mode, size)
        small.paste(part, (left // factor, above // factor))
    assert small is not None  # noqa: S101 (tells mypy that a picture has a first pixel)
    return small


def _tiles(picture: Image.Image, side: int = _TILE_SIDE) -> Iterator[tuple[int, int, Image.Image]]:
    """The picture in tiles of `side`, and where each begins: left, top."""
    for above in range(0, picture.height, side):
        for left in range(0, picture.width, side):
            right, below = min(left + side, picture.width), min(above + side, picture.height)
            yield left, above, picture.crop((left, above, right, below))


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """What the EXIF orientation asks to be done; nothing where the EXIF is broken or huge."""
    # Most small pictures have none, and Pillow would take longer to find that out than to decode.
    if picture.format != "TIFF" and picture.info.keys().isdisjoint(_WITH_ORIENTATION):
        return None
    if any(len(picture.info.get(name) or "") > _MOST_EXIF for name in _EXIF):
        return None
    try:
        return _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 (the parser raises as many things as the decoders)
        return None


def _top(picture: Image.Image) -> float:
    """The sample that is white where samples are whole or real numbers of no told range."""
    if picture.mode not in ("I", "F"):
        return 255.0
    most = max(float(_samples(tile).max()) for _, _, tile in _tiles(picture))
    # Take the smallest usual range that holds them. Sharpening and scaling overshoot by some of it.
    return next((top for top in (1.0, 255.0) if most <= 1.5 * top), max(65535.0, most))


def _samples(picture: Image.Image) -> npt.NDArray[np.float64]:
    return np.nan_to_num(np.asarray(picture, dtype=np.float64), posinf=0.0, neginf=0.0)
