"""Draw a small copy of a photo, for people to look at."""

from __future__ import annotations

import io
import re
from typing import cast

from PIL import Image, ImageOps

_THUMBNAIL = (256, 256)  # large enough to judge by, and about 8 kB
_QUALITY = 70
_SMALL_ENOUGH = 4096  # bytes: a file of that size needs no smaller copy
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"  # how they begin
_NOTES = re.compile(rb"\xff[\xe1-\xef\xfe]")  # where a JPEG says more than how it looks
_LOOKS = (b"IHDR", b"PLTE", b"sRGB", b"gAMA", b"cHRM", b"sBIT", b"pHYs", b"IDAT", b"IEND")
_WITH_ALPHA = (b"\4", b"\6")  # of the colour types of PNG
_PHOTOMETRIC = 262  # the tag of a TIFF that says what its samples mean; 0: that 0 is white
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_MOST_PIXELS = 50_000_000


def thumbnail(content: bytes) -> bytes | None:
    """A JPEG or PNG that shows the picture in little; None where that cannot be had."""
    small = len(content) <= _SMALL_ENOUGH
    if small and (_is_bare_png(content) or _is_bare_jpeg(content)):
        return content
    try:
        formats = _with_heic() if content[4:8] == b"ftyp" else _FORMATS
        with Image.open(io.BytesIO(content), formats=formats) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                return None
            picture.draft("RGB", _THUMBNAIL)
            # In that order: a whole photo is slow to turn, and to lay on white.
            picture.thumbnail(_THUMBNAIL)
            negative = getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == 0
            upright = _in_eight_bits(ImageOps.exif_transpose(picture), negative)
        file = io.BytesIO()
        # Of a few pixels each should be seen as it is.
        form = "PNG" if small and content.startswith(_PNG) else "JPEG"
        _on_white(upright).save(file, form, quality=_QUALITY)
        return file.getvalue()
    except Exception:  # noqa: BLE001 (decoders fail in many ways; a missing preview harms nothing)
        return None


def _is_bare_png(content: bytes) -> bool:
    """Whether a PNG has neither words beside its picture nor anything to see through."""
    if not content.startswith(_PNG) or content[25:26] in _WITH_ALPHA:
        return False
    offset = len(_PNG)
    while content[offset + 4 : offset + 8] in _LOOKS:
        offset += 12 + int.from_bytes(content[offset : offset + 4], "big")
    return offset == len(content) and content[-8:-4] == b"IEND"


def _is_bare_jpeg(content: bytes) -> bool:
    return content.startswith(_JPEG) and not _NOTES.search(content)


def _in_eight_bits(picture: Image.Image, negative: bool) -> Image.Image:
    """The picture as models see it, where Pillow would clip its samples, or leave it `negative`."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    real = picture.convert("F")
    most = cast(float, real.getextrema()[1])
    top = 65535.0
    if not picture.mode.startswith("I;16"):
        top = next((top for top in (1.0, 255.0) if most <= 1.5 * top), max(top, most))
    shown = real.point(lambda sample: sample * (255 / top) + 0).convert("L")
    return ImageOps.invert(shown) if negative else shown


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGB", "L") and "transparency" not in picture.info:
        picture.info.clear()  # a comment would be saved with it
        return picture
    sheet = Image.new("RGBA", picture.size, "white")
    sheet.alpha_composite(picture.convert("RGBA"))
    return sheet.convert("RGB")


def _with_heic() -> tuple[str, ...]:
    import pillow_heif  # only where such a photo comes: it takes 20 MiB

    pillow_heif.register_heif_opener(decode_threads=1, depth_images=False, aux_images=False)
    return (*_FORMATS, "HEIF")
