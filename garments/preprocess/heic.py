"""The sizes that a HEIC tells of its pictures, found as libheif would, without loading it."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from garments.preprocess.chunks import TooManyChunks

_SIZE = re.compile(rb"ispe")
# Boxes beside each other, or sizes; a photo has a dozen.
_MOST = 1000


def largest_part(data: bytes) -> int:
    """The pixels of the largest picture in the file, or tile of one, before anything is cropped.

    libheif decodes nothing that is larger than its `ispe` box says, and nothing that has none.
    The size of a picture itself is that after it is cropped. ISO/IEC 23008-12, section 6.5.3.
    Raises ValueError where no size is told, struct.error where the file ends early, and
    TooManyChunks where there is no telling in reasonable time.
    """
    areas: list[int] = []
    for start, end in _described(data):
        for found in _SIZE.finditer(data, start, end):
            # Before its name a box has its length: 1, where that comes after its name in 64 bits.
            is_long = data[found.start() - 4 : found.start()] == b"\0\0\0\1"
            version, width, height = struct.unpack_from(
                ">B3xII", data, found.end() + (8 if is_long else 0)
            )
            if version == 0:  # libheif knows no other, so this is but a word
                areas.append(width * height)
            if len(areas) > _MOST:
                raise TooManyChunks
    return max(areas)


def _described(data: bytes) -> Iterator[tuple[int, int]]:
    """Where boxes begin and end that tell of pictures. ISO/IEC 14496-12, section 4.2."""
    place = boxes = 0
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, place + 8)
        elif length == 0:  # as far as the file goes
            length = len(data) - place
        if length < 8:  # as little as no box has: libheif reads no further either
            return
        boxes += 1
        if boxes > _MOST:
            raise TooManyChunks
        if name == b"meta":
            yield place, min(place + length, len(data))
        place += length
