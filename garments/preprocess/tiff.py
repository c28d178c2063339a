"""The directories of a TIFF, gone through as Pillow would, but without making anything of them."""

from __future__ import annotations

import struct
from typing import NamedTuple

# Bytes of one value, by type, of the types that Pillow unpacks; others it leaves as they are.
_BYTES = {3: 2, 4: 4, 5: 8, 6: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_AS_THEY_ARE = (1, 2, 7)  # BYTE, ASCII and UNDEFINED
# SHORTs are quickly unpacked, so four count as one: a 16-bit curve has 65,536 for each colour.
_SHORT, _SHORTS_FOR_ONE = 3, 4
# StripOffsets and TileOffsets: Pillow makes several things for each, of any type.
_OFFSETS = (273, 324)


class _Form(NamedTuple):
    """How numbers are packed, for `struct`."""

    tags: struct.Struct  # how many there are
    tag: struct.Struct  # its number, type and values; not what they are
    pointer: struct.Struct
    first: int  # directory


def count_directories(data: bytes, most: int) -> int:
    """The directories, one for each picture, counted no further than one beyond `most`.

    Raises struct.error where the file ends early.
    """
    form = _form(data)
    seen: set[int] = set()
    place = form.first
    while place and place not in seen and len(seen) <= most:
        seen.add(place)
        (count,) = form.tags.unpack_from(data, place)
        end = place + form.tags.size + count * form.tag.size
        (place,) = form.pointer.unpack_from(data, end)
    return len(seen)


def count_values(data: bytes, most: int) -> int:
    """The values in the first directory of which Pillow makes something one by one.

    Tags are counted no further than `most`. Raises struct.error where the file ends early.
    """
    form = _form(data)
    (count,) = form.tags.unpack_from(data, form.first)
    if count > most:
        return most + 1
    start, total = form.first + form.tags.size, 0
    whole = min(count, (len(data) - start) // form.tag.size)
    for tag, kind, values in form.tag.iter_unpack(data[start : start + whole * form.tag.size]):
        size = 1 if tag in _OFFSETS and kind in _AS_THEY_ARE else _BYTES.get(kind, 0)
        if values * size <= len(data):  # Pillow leaves out what cannot be in the file
            several = kind == _SHORT and tag not in _OFFSETS
            total += values * bool(size) // (_SHORTS_FOR_ONE if several else 1)
    return total


def _form(data: bytes) -> _Form:
    """TIFF 6.0, section 2; also BigTIFF, but for the big-endian one, which Pillow takes for TIFF.

    Each directory is the number of its tags, the tags, and the place of the next directory.
    """
    order = "<" if data[:2] == b"II" else ">"
    count, tag, pointer, place = (
        ("Q", "HHQ8x", "Q", 8) if data[2] == 0x2B else ("H", "HHI4x", "I", 4)
    )
    (first,) = struct.unpack_from(order + pointer, data, place)
    return _Form(
        tags=struct.Struct(order + count),
        tag=struct.Struct(order + tag),
        pointer=struct.Struct(order + pointer),
        first=first,
    )
