"""Draw a small copy of a photo, for people to look at: of what the model sees of it."""

from __future__ import annotations

import io
import re
from functools import cache

_THUMBNAIL = (256, 256)  # large enough to judge by, and about 8 kB
_QUALITY = 70
_SMALL_ENOUGH = 4096  # bytes: a file of that size needs no smaller copy
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"  # how they begin
_NOTES = re.compile(rb"\xff[\xe1-\xef\xfe]")  # where a JPEG says more than how it looks
_LOOKS = (b"IHDR", b"PLTE", b"sRGB", b"gAMA", b"cHRM", b"sBIT", b"pHYs", b"IDAT", b"IEND")
_WITH_ALPHA = (b"\4", b"\6")  # of the colour types of PNG
# As many as the service can be set to read.
_MOST_PIXELS = 89_000_000
_MOST = 10**6  # frames, or scans


def thumbnail(content: bytes) -> bytes | None:
    """A JPEG or PNG that shows the picture in little; None where that cannot be had."""
    small = len(content) <= _SMALL_ENOUGH
    if small and (_is_bare_png(content) or _is_bare_jpeg(content)):
        return content
    try:
        # Only where one is drawn: what it needs takes a tenth of a second to load.
        from garments.preprocess import Limits, on_white, read_picture

        _hush()
        picture = read_picture(content, Limits(_MOST_PIXELS, _MOST, _MOST), side=max(_THUMBNAIL))
        picture.thumbnail(_THUMBNAIL)
        shown = on_white(picture)  # in that order: a whole photo is slow to lay on white
        shown.info.clear()  # a comment would be saved with it
        file = io.BytesIO()
        # Of a few pixels each should be seen as it is.
        form = "PNG" if small and content.startswith(_PNG) else "JPEG"
        shown.save(file, form, quality=_QUALITY)
        return file.getvalue()
    except Exception:  # noqa: BLE001 (decoders fail in many ways; a missing preview harms nothing)
        return None


@cache
def _hush() -> None:
    """Once: a filter of warnings that is set anew is lacking for a moment in other threads."""
    from garments.preprocess import hush_decoders

    hush_decoders()


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
