"""Odd and hostile files: some that the tests make themselves, and a corpus where there is one."""

import base64
import functools
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from tests.conftest import IMAGES, SHARED
from tests.pictures import catalogue_shot, encoded, turned

BOOT = (IMAGES / "image_0_label_9.png").read_bytes()
ITEM = np.asarray(Image.open(IMAGES / "image_0_label_9.png"))
SHOT = catalogue_shot(ITEM)


def text(data: bytes) -> str:
    """A file as JSON carries it."""
    return base64.b64encode(data).decode()


def png(width: int, height: int, *chunks: bytes, pixels: bytes = bytes(1000)) -> bytes:
    """A PNG in colour that says it has a size, whatever it holds."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(pixels))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body) + chunk(b"IEND", b"")


def chunk(name: bytes, content: bytes) -> bytes:
    """A part of a PNG."""
    checked = name + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


# What libjpeg passes over on its way to the next scan.
BEFORE_A_SCAN = {
    "fill": b"\xff" * 5,
    "junk": b"\0junk",
    "stuffing": b"\xff\xff\0",
    "restart": b"\xff\xd3",
    "empty": b"\xff\xfe\0\2",
    "length 0": b"\xff\xfe\0\0",
    "length 1": b"\xff\xef\0\1",
    "scan and end in a comment": b"\xff\xfe\0\6\xff\xda\xff\xd9",
}


def with_scans(count: int) -> bytes:
    """A JPEG whose last scan stands there again and again."""
    data = encoded(Image.new("L", (64, 64)), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : data.rindex(b"\xff\xd9")]
    return data[:-2] + scan * (count - data.count(b"\xff\xda")) + b"\xff\xd9"


def as_mpo(data: bytes) -> bytes:
    """A JPEG that says it holds a second picture, as some phones' files do."""
    short = Image.new("L", (8, 8))
    two = encoded(short, "MPO", save_all=True, append_images=[short])
    start = two.index(b"\xff\xe2")
    (length,) = struct.unpack_from(">H", two, start + 2)
    return data[:2] + two[start : start + 2 + length] + data[2:]


def animated(kind: str, frames: int) -> bytes:
    """The boot, and more frames, all different."""
    others = [Image.new("L", (28, 28), 255 - 40 * n) for n in range(frames - 1)]
    return encoded(Image.fromarray(ITEM), kind, save_all=True, append_images=others)


def gif_of(frames: int) -> bytes:
    """A GIF of as many frames of one pixel."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return head + frame * frames + b";"


def turns(kind: str) -> dict[int, bytes]:
    """The same shot as a camera stores it in each of the eight positions."""
    found = {}
    for orientation in range(1, 9):
        stored, exif = turned(SHOT, orientation)
        found[orientation] = encoded(stored, kind, exif=exif.tobytes())
    return found


def tiff(
    *tags: tuple[int, int, int],
    after: bytes,
    big: bool = False,
    other: Mapping[int, int] = MappingProxyType({}),
) -> bytes:
    """A grey TIFF that says it has 28×28 pixels, or a BigTIFF, with more tags.

    Each is its number, its type and how many values it has; these begin with `after`. What the
    tags hold that it has anyway, `other` may change.
    """
    own = {256: 28, 257: 28, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1, 322: 1, 323: 1, **other}
    entry, number, numbers = ("<HHQQ", "<Q", "<Q") if big else ("<HHII", "<I", "<H")
    head = b"II+\0\x08\0\0\0" if big else b"II*\0"
    first = len(head) + struct.calcsize(number)
    count = struct.pack(numbers, len(own) + len(tags))
    end = first + len(count) + struct.calcsize(entry) * (len(own) + len(tags))
    end += struct.calcsize(number)  # of the next directory, which there is not
    entries = [(tag, 3, 1, value) for tag, value in own.items()] + [(*tag, end) for tag in tags]
    directory = b"".join(struct.pack(entry, *one) for one in sorted(entries))
    return head + struct.pack(number, first) + count + directory + struct.pack(number, 0) + after


def bmp_with_alpha(picture: Image.Image) -> bytes:
    """A BMP of an RGBA picture, as what copies and pastes writes it: with a mask for each band."""
    pixels = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
    header = struct.pack("<IiiHHII", 124, *picture.size, 1, 32, 3, len(pixels)).ljust(40, b"\0")
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = (header + masks).ljust(124, b"\0")
    return b"BM" + struct.pack("<IHHI", 138 + len(pixels), 0, 0, 138) + header + pixels


def tiff_colour_by_colour(picture: Image.Image, order: str) -> bytes:
    """A TIFF of 16 bits that has all of one colour, then all of the next; "<" or ">" first."""
    samples = np.asarray(picture).astype(f"{order}u2") * 257
    height, width, colours = samples.shape
    pixels = np.moveaxis(samples, -1, 0).astype(f"{order}u2").tobytes()
    # The depth and the place of each colour, which do not fit into a tag, stand behind the pixels.
    bits, places = 8 + len(pixels), 8 + len(pixels) + 2 * colours
    starts = [8 + number * height * width * 2 for number in range(colours)]
    after = struct.pack(f"{order}{colours}H{colours}I", *[16] * colours, *starts)
    one = {256: width, 257: height, 259: 1, 262: 5 if picture.mode == "CMYK" else 2}
    tags = {tag: (1, value) for tag, value in (one | {277: colours, 284: 2}).items()}
    tags |= {258: (colours, bits), 273: (colours, places)}
    kinds = {258: 3}  # SHORT; all others are LONG
    directory = struct.pack(f"{order}H", len(tags)) + b"".join(
        struct.pack(f"{order}HHII", tag, kinds.get(tag, 4), *tags[tag]) for tag in sorted(tags)
    )
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}I", places + 4 * colours)
    return head + pixels + after + directory + bytes(4)


@functools.cache
def of_one_tile(side: int, told_twice: bool = False) -> bytes:
    """A black TIFF of 28×28 pixels, stored as a corner of a larger tile.

    Its width may be told twice: first as it is, and then as one of few pixels.
    """
    packed = zlib.compress(bytes(side * side))
    own = {259: 8, 322: side, 323: side, 325: len(packed)}
    again = [(322, 4, 1)] if told_twice else []
    return tiff((324, 4, 1), *again, after=packed, other=own)


def with_inserted(data: bytes, place: int, more: bytes, *around: bytes) -> bytes:
    """A HEIC with more in it, and the boxes around that so much longer."""
    data = data[:place] + more + data[place:]
    for name in around:
        start = data.index(name) - 4
        (length,) = struct.unpack_from(">I", data, start)
        data = data[:start] + struct.pack(">I", length + len(more)) + data[start + 4 :]
    return data


def of_sides(data: bytes, width: int, height: int) -> bytes:
    """A HEIC that says it is stored with other sides."""
    place = data.index(b"ispe") + 8
    return data[:place] + struct.pack(">II", width, height) + data[place + 8 :]


def cropped(shot: Image.Image, side: int) -> bytes:
    """A HEIC of which a square at the centre is to be shown."""
    # libheif stores a picture of odd sides as a larger one that is cropped.
    odd = shot.crop((0, 0, shot.width - 1, shot.height - 1))
    data = encoded(odd, "HEIF")
    place = data.index(b"clap") + 4
    return data[:place] + struct.pack(">8I", side, 1, side, 1, 0, 1, 0, 1) + data[place + 32 :]


def with_a_long_box(data: bytes) -> bytes:
    """A HEIC in which the length of the box that tells its size is in 64 bits."""
    place = data.index(b"ispe") + 4
    longer = with_inserted(data, place, struct.pack(">Q", 28), b"meta", b"iprp", b"ipco")
    return longer.replace(b"\0\0\0\x14ispe", b"\0\0\0\1ispe")


def fractions(tag: int, count: int) -> bytes:
    """EXIF with a tag of so many fractions."""
    head = b"II*\0" + struct.pack("<I", 8)
    return head + struct.pack("<HHHIII", 1, tag, 5, count, 26, 0) + bytes(8 * count)


def of_many_values(size: int = 8_000_000) -> dict[str, bytes]:
    """Pictures with so many bytes of values beside them, none of which is needed."""
    exif = fractions(274, size // 8)
    profile = b"Raw profile type exif\0\nexif\n8\n" + fractions(274, size // 16).hex().encode()
    own = fractions(40_000, size // 8)[8:]  # the directory that a camera has for itself
    small, pixels = Image.new("RGB", (28, 28)), bytes(85 * 28)
    return {
        "exif.png": png(28, 28, chunk(b"eXIf", exif), pixels=pixels),
        "profile.png": png(28, 28, chunk(b"tEXt", profile), pixels=pixels),
        "exif.webp": encoded(small, "WEBP", exif=exif),
        "exif.heic": encoded(small, "HEIF", exif=exif),
        "camera.tiff": tiff((273, 4, 1), (34_665, 4, 1), after=own),
    }


def of_many_parts(size: int = 8_000_000) -> dict[str, bytes]:
    """Files of so many bytes that are little else than their parts, however small they may be."""
    gif, row = gif_of(1), b"\0" + bytes(84)
    jpeg = encoded(Image.new("RGB", (28, 28)), "JPEG")

    def in_gif(part: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
        return gif[:19] + before + part * (size // len(part)) + after + gif[19:]

    def in_png(part: bytes) -> bytes:
        return png(28, 28, part * (size // len(part)), pixels=row * 28)

    def in_jpeg(part: bytes) -> bytes:
        return jpeg[:2] + part * (size // len(part)) + jpeg[2:]

    bmp = encoded(Image.new("L", (28, 28)), "BMP")
    heic = encoded(Image.new("L", (28, 28)), "HEIF")
    meta = heic.index(b"meta")
    sizes = b"ispe\0" * (size // 5)
    sizes = struct.pack(">I4s", 8 + len(sizes), b"free") + sizes
    exif = b"\xff\xe1" + struct.pack(">H", 2 + 60_000) + b"Exif\0\0".ljust(60_000, b"\0")
    resources = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\0" * 5000
    return {
        "comment.gif": in_gif(b"\x01x", b"!\xfe", b"\0"),
        "comments.gif": in_gif(b"!\xfe\x01x\0"),
        "extensions.gif": in_gif(b"!\xf9\x04\0\0\0\0\0"),
        "gaps.gif": in_gif(b"\x07"),
        "blocks.gif": gif[:29] + b"\x02" + b"\x01D" * (size // 2) + b"\0;",
        "runs.bmp": bmp[:30] + b"\1" + bmp[31:1078] + b"\0\2\0\0" * (size // 4),
        "chunks.png": in_png(chunk(b"abCd", b"")),
        "texts.png": in_png(chunk(b"tEXt", b"k\0v")),
        "pixels.png": in_png(chunk(b"IDAT", b"")),
        "segments.jpg": in_jpeg(b"\xff\xef\0\x02"),
        "comments.jpg": in_jpeg(b"\xff\xfe\0\x03x"),
        "tables.jpg": in_jpeg(b"\xff\xdb\0\x43\0" + b"\1" * 64),
        "gaps.jpg": in_jpeg(b"\xff"),
        "exif.jpg": in_jpeg(exif),
        "boxes.heic": with_inserted(heic, meta - 4, b"\0\0\0\x08free" * (size // 8)),
        "sizes.heic": with_inserted(heic, meta + 8, sizes, b"meta"),
        "curve.tiff": tiff((273, 4, 1), (301, 3, size // 2), after=bytes(size)),
        "resolution.tiff": tiff((282, 5, size // 8), after=bytes(size)),
        "strips.tiff": tiff((273, 1, size), after=bytes(size)),
        "tiles.tiff": tiff((324, 4, size // 4), after=bytes(size)),
        "strips_of_a_big_one.tiff": tiff((273, 1, size), after=bytes(size), big=True),
        "resources.jpg": in_jpeg(b"\xff\xed" + struct.pack(">H", 2 + len(resources)) + resources),
    }


def with_odd_tags(count: int) -> bytes:
    """A TIFF with tags that say they are larger than the file."""
    plain = encoded(Image.fromarray(ITEM), "TIFF")
    (start,) = struct.unpack_from("<I", plain, 4)
    (own,) = struct.unpack_from("<H", plain, start)
    tags = plain[start + 2 : start + 2 + 12 * own]
    tags += b"".join(struct.pack("<HHII", 0xC100 + n, 7, 2**30, 8) for n in range(count))
    directory = struct.pack("<H", own + count) + tags + bytes(4)
    return plain[:4] + struct.pack("<I", len(plain)) + plain[8:] + directory


@functools.cache
def readable() -> Mapping[str, bytes]:
    """Odd files that hold a picture all the same."""
    wide = Image.fromarray(ITEM.astype(np.uint16) * 257)
    alpha = SHOT.copy()
    alpha.putalpha(200)
    files = {
        "sixteen_bits.png": encoded(wide),
        "cmyk.jpg": encoded(SHOT.convert("CMYK"), "JPEG"),
        "palette.png": encoded(SHOT.convert("P")),
        "alpha.png": encoded(alpha),
        "animated.gif": animated("GIF", 5),
        "animated.png": animated("PNG", 5),
        "animated.webp": animated("WEBP", 5),
        "pages.tiff": animated("TIFF", 5),
        "phone.heic": encoded(SHOT, "HEIF"),
        "cropped.heic": cropped(SHOT, 460),
        "phone.mpo": as_mpo(encoded(SHOT, "JPEG")),
        "a_name_that_lies.txt": BOOT,
        **{f"turned_{n}.jpg": data for n, data in turns("JPEG").items()},
        **{f"turned_{n}.heic": data for n, data in turns("HEIF").items()},
    }
    return MappingProxyType(files)


@functools.cache
def refused() -> Mapping[str, tuple[bytes, str]]:
    """Files that must not be read, and the code that says why."""
    heic = encoded(SHOT, "HEIF")
    crop = of_sides(cropped(Image.new("L", (30, 30)), 16), 30_000, 30_000)
    files = {
        "zero_bytes.jpg": (b"", "empty_image"),
        "truncated.png": (BOOT[:200], "unreadable_image"),
        "truncated.jpg": (encoded(SHOT, "JPEG")[:2000], "unreadable_image"),
        "truncated.heic": (heic[: len(heic) // 2], "unreadable_image"),
        "bomb.png": (png(50_000, 50_000), "too_many_pixels"),
        "bomb_just_over.png": (png(5001, 5000), "too_many_pixels"),
        "bomb_of_one_line.png": (png(25_000_000, 1), "too_many_pixels"),
        "bomb_of_one_column.png": (png(1, 25_000_000), "too_many_pixels"),
        "bomb_of_one_tile.tiff": (of_one_tile(6000), "too_many_pixels"),
        "bomb_of_a_tile_told_twice.tiff": (of_one_tile(6000, told_twice=True), "too_many_pixels"),
        "bomb.heic": (of_sides(heic, 30_000, 30_000), "too_many_pixels"),
        "bomb_that_is_cropped.heic": (crop, "too_many_pixels"),
        "bomb_in_a_long_box.heic": (with_a_long_box(crop), "too_many_pixels"),
        # Says it is small, and its stream is not.
        "liar.heic": (of_sides(heic, 16, 16), "unreadable_image"),
        "empty_pixels.png": (png(4000, 4000), "unreadable_image"),
        "packed_text.png": (
            png(28, 28, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000)))),
            "unreadable_image",
        ),
        "packed_profile.png": (
            png(28, 28, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000)))),
            "unreadable_image",
        ),
        "endless_scans.jpg": (with_scans(200), "too_many_scans"),
        "endless_scans.mpo": (as_mpo(with_scans(200)), "too_many_scans"),
        "endless_frames.gif": (gif_of(1001), "too_many_frames"),
        "script.png": (b"#!/bin/sh\nrm -rf /\n", "unsupported_type"),
        "page.gif": (b"<html><script>alert(1)</script></html>", "unsupported_type"),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_type"),
        "document.pdf": (b"%PDF-1.7\n", "unsupported_type"),
        "postscript.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported_type"),
        "archive.png": (b"PK\x03\x04" + bytes(100), "unsupported_type"),
        "program.jpg": (b"\x7fELF" + bytes(100), "unsupported_type"),
    }
    return MappingProxyType(files)


@functools.cache
def own() -> Mapping[str, bytes]:
    """All of these files, whatever is to become of them."""
    told = {name: data for name, (data, _) in refused().items()}
    return MappingProxyType(readable() | told)


def corpus() -> list[Path]:
    """Files that others found to be hostile, where they are beside the project."""
    files = sorted(path for path in (SHARED / "corpus").rglob("*") if path.name != "SOURCES.md")
    return [path for path in files if path.is_file()]


needs_corpus = pytest.mark.skipif(
    not corpus(), reason="the corpus of hostile files is not beside the project"
)
