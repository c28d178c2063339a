"""A file that is given up where to go through its parts would take too long.

Pillow reads what stands before the pixels part by part, some of them byte by byte, and holds up all
other threads meanwhile.
"""

from __future__ import annotations

import io

from garments.preprocess.tiff import count_values

# A PNG of 64 MiB in the usual parts of 8 KiB takes 25,000 steps.
_MOST_STEPS = 100_000
_MOST_RESOURCES = 1000  # of Photoshop in a JPEG; each is a turn of a loop
# Of EXIF in a JPEG, with up to 64 KiB in each: Pillow copies all before it for each, and makes
# something of every value.
_MOST_PARTS_OF_EXIF = 8
_SMALL = 2**16  # in bytes: so little cannot hold many parts


class TooManyParts(OSError):
    """To go through them takes too long."""

    def __init__(self) -> None:
        # A BMP of runs has one for every few pixels.
        super().__init__(
            "the file is of too many small parts: save it anew, as a JPEG, a PNG or a BMP without "
            "compression"
        )


class _File(io.BytesIO):
    """Raises TooManyParts where it is read in too many steps, or has too many parts of EXIF."""

    _steps = _exif = 0

    def read(self, size: int | None = -1, /) -> bytes:
        part = super().read(size)
        self._steps += 1
        self._exif += part.startswith(b"Exif\0\0")
        if self._steps > _MOST_STEPS or self._exif > _MOST_PARTS_OF_EXIF:
            raise TooManyParts
        return part


def as_file(data: bytes, kind: str) -> io.BytesIO:
    """A file for Pillow to read, of a format by its name there.

    Raises TooManyParts, at once or while it is read.
    """
    if len(data) <= _SMALL:
        return io.BytesIO(data)
    if kind == "JPEG" and data.count(b"8BIM") > _MOST_RESOURCES:
        raise TooManyParts
    if kind == "TIFF" and count_values(data, _MOST_STEPS) > _MOST_STEPS:
        raise TooManyParts
    return _File(data)
