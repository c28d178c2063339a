"""How many pictures a file holds, told without decoding any of them."""

from __future__ import annotations

import struct
from contextlib import suppress

from PIL import Image

from garments.preprocess.tiff import count_directories

# A GIF of 64 MiB in the usual sub-blocks of 255 bytes has half as many.
_MOST_BLOCKS = 500_000


def count_frames(picture: Image.Image, data: bytes, most: int) -> int:
    """The frames of an opened file, counted no further than one beyond `most`.

    Most formats tell it at once. In GIF and TIFF one must go from frame to frame, and Pillow would
    go to the last, of which 64 MiB of file can hold millions.
    """
    if picture.format not in ("GIF", "TIFF"):
        return int(getattr(picture, "n_frames", 1))
    with suppress(IndexError, struct.error):  # the file ends early; so may its first frame
        return _in_gif(data, most) if picture.format == "GIF" else count_directories(data, most)
    return 1


def _in_gif(data: bytes, most: int) -> int:
    """GIF89a, sections 17 to 26: blocks one after the other, each a chain of sub-blocks."""
    place, count, blocks = 13 + _colour_table(data[10]), 0, 0
    while count <= most and data[place] in b"!,":
        if data[place] == 0x21:  # an extension: its label, then sub-blocks
            place += 2
        else:  # a frame: its place and size, its colours, the size of its codes, then sub-blocks
            count += 1
            place += 11 + _colour_table(data[place + 9])
        while data[place]:
            place += 1 + data[place]
            blocks += 1
            if blocks > _MOST_BLOCKS:
                return most + 1  # there is no telling in reasonable time
        place += 1
    return count


def _colour_table(flags: int) -> int:
    return 3 << (flags % 8 + 1) if flags & 0x80 else 0
