"""The directories of a TIFF, gone through as Pillow would, but without making anything of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

# Bytes of one value, by type, of the types that Pillow unpacks; others it leaves as they are.
_BYTES = {3: 2, 4: 4, 5: 8, 6: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_AS_THEY_ARE = (1, 2, 7)  # BYTE, ASCII and UNDEFINED
# SHORTs are quickly unpacked, so four count as one: a 16-bit curve has 65,536 for each colour.
_SHORT, _SHORTS_FOR_ONE = 3, 4
# StripOffsets and TileOffsets: Pillow makes several things for each, of any type.
_OFFSETS = (273, 324)
_TILE_WIDTH, _TILE_LENGTH = 322, 323


class _Form(NamedTuple):
    """How numbers are packed, for `struct`."""

    tags: struct.Struct  # how many there are
    tag: struct.Struct  # its number, type, how many values, and they themselves or their place
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
    total = 0
    for tag, kind, values, _ in _tags(data, form):
        size = 1 if tag in _OFFSETS and kind in _AS_THEY_ARE else _BYTES.get(kind, 0)
        if values * size <= len(data):  # Pillow leaves out what cannot be in the file
            several = kind == _SHORT and tag not in _OFFSETS
            total += values * bool(size) // (_SHORTS_FOR_ONE if several else 1)
    return total


def largest_tile(data: bytes) -> int:
    """The pixels of a tile in the first directory, which libtiff unpacks whole; 0 without tiles.

    Where a tag is there twice, Pillow believes one of them and libtiff the other: the larger
    counts. Raises ValueError for sides of no such type as they have, struct.error where the file
    ends early.
    """
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    longest = {_TILE_WIDTH: 0, _TILE_LENGTH: 0}
    for tag, kind, _, value in _tags(data, _form(data)):
        if tag in longest:
            size = _BYTES.get(kind, 8)
            if size > len(value):
                raise ValueError("a side of a tile is no SHORT or LONG")
            longest[tag] = max(longest[tag], int.from_bytes(value[:size], order))
    return longest[_TILE_WIDTH] * longest[_TILE_LENGTH]


def _tags(data: bytes, form: _Form) -> Iterator[tuple[int, int, int, bytes]]:
    """The tags of the first directory, as far as the file goes."""
    (count,) = form.tags.unpack_from(data, form.first)
    start = form.first + form.tags.size
    whole = min(count, (len(data) - start) // form.tag.size)
    return form.tag.iter_unpack(data[start : start + whole * form.tag.size])


def _form(data: bytes) -> _Form:
    """TIFF 6.0, section 2; also BigTIFF, but for the big-endian one, which Pillow takes for TIFF.

    Each directory is the number of its tags, the tags, and the place of the next directory.
    """
    order = "<" if data[:2] == b"II" else ">"
    count, tag, pointer, place = (
        ("Q", "HHQ8s", "Q", 8) if data[2] == 0x2B else ("H", "HHI4s", "I", 4)
    )
    (first,) = struct.unpack_from(order + pointer, data, place)
    return _Form(
        tags=struct.Struct(order + count),
        tag=struct.Struct(order + tag),
        pointer=struct.Struct(order + pointer),
        first=first,
    )
