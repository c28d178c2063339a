"""The size of a picture, read off the head of its file."""

from __future__ import annotations

import struct

from garments.preprocess.picture import open_picture

_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def size_of(data: bytes) -> tuple[int, int] | None:
    """Width and height as they are stored, before any turn; None for what cannot be read."""
    if data.startswith(_PNG) and len(data) >= 24:
        # A hundred times as fast as Pillow, for the many small pictures whose time is counted.
        width, height = struct.unpack_from(">II", data, len(_PNG))
        return width, height
    try:
        with open_picture(data) as picture:
            return picture.width, picture.height
    except Exception:  # noqa: BLE001 (a broken file makes Pillow raise nearly anything)
        return None
