"""A file that is given up where to go through its chunks would take too long.

Pillow reads what stands before the pixels chunk by chunk, some of them byte by byte, and holds up
all other threads meanwhile.
"""

from __future__ import annotations

import io

from garments.preprocess.tiff import count_values

# A PNG of 64 MiB in the usual chunks of 8 KiB takes 25,000 steps.
_MOST_STEPS = 100_000
_MOST_RESOURCES = 1000  # Photoshop's in a JPEG; each is a turn of a loop
# EXIF segments in one JPEG, of up to 64 KiB each. Pillow concatenates them, copying all that came
# before for each, and parses every value.
_MOST_EXIF_SEGMENTS = 8
_SMALL = 2**16  # in bytes: so little cannot hold many chunks


class TooManyChunks(OSError):
    """To go through them takes too long."""

    def __init__(self) -> None:
        # A run-length encoded BMP has a chunk for every few pixels: hence the advice.
        super().__init__(
            "the file is of too many small parts: save it anew, as a JPEG, a PNG or a BMP without "
            "compression"
        )


class _File(io.BytesIO):
    """Raises TooManyChunks where it is read in too many steps, or has too many EXIF segments."""

    _steps = _exif = 0

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(size)
        self._steps += 1
        self._exif += chunk.startswith(b"Exif\0\0")
        if self._steps > _MOST_STEPS or self._exif > _MOST_EXIF_SEGMENTS:
            raise TooManyChunks
        return chunk


def as_file(data: bytes, kind: str) -> io.BytesIO:
    """A file for Pillow to read, of a format by its name there.

    Raises TooManyChunks, at once or while it is read.
    """
    if len(data) <= _SMALL:
        return io.BytesIO(data)
    if kind == "JPEG" and data.count(b"8BIM") > _MOST_RESOURCES:
        raise TooManyChunks
    if kind == "TIFF" and count_values(data, _MOST_STEPS) > _MOST_STEPS:
        raise TooManyChunks
    return _File(data)
