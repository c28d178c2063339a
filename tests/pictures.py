"""Pictures that the tests draw themselves, and what the preprocessing makes of them."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from PIL import Image, ImageDraw, ImageOps

from garments.preprocess import BadImage, Limits, to_array

pillow_heif.register_heif_opener()

TROUSER, DRESS, BAG = 1, 3, 8
EXIF_ORIENTATION = 0x0112
# What must be done to an upright picture so that a viewer who obeys the tag turns it back.
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of a picture's file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def shaped(data: bytes, **limits: int) -> npt.NDArray[np.uint8]:
    """A picture's file as the network for small pictures takes it."""
    return to_array(data, 28, 28, "fashion-mnist", limits=Limits(**limits))


def refusal(data: bytes, **limits: int) -> str:
    """The code with which a file is refused."""
    with pytest.raises(BadImage) as caught:
        shaped(data, **limits)
    return caught.value.code


def catalogue_shot(item: npt.NDArray[np.uint8], colour: str = "white") -> Image.Image:
    """A 28×28 item as a shop would show it: dark, 300 px tall, off centre on a larger sheet."""
    drawn = ImageOps.invert(Image.fromarray(item)).resize((300, 300), Image.Resampling.BICUBIC)
    sheet = Image.new("RGB", (560, 470), colour)
    sheet.paste(drawn, (190, 40))
    return sheet


def turned(picture: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """The picture as a camera held another way stores it, and the tag that says so."""
    turn = TURNS[orientation]
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    return (picture if turn is None else picture.transpose(turn)), exif


def as_jpeg(item: npt.NDArray[np.uint8]) -> bytes:
    """The item as a colour JPEG of a catalogue shot."""
    return encoded(catalogue_shot(item), "JPEG", quality=90)


def with_alpha(item: npt.NDArray[np.uint8]) -> bytes:
    """The item cut out: dark on nothing."""
    sheet = catalogue_shot(item)
    sheet.putalpha(ImageOps.invert(sheet.convert("L")).point(lambda value: 255 * (value > 0)))
    return encoded(sheet, compress_level=1)


def turned_by_exif(item: npt.NDArray[np.uint8]) -> bytes:
    """The item as a phone held sideways stores it."""
    picture, exif = turned(catalogue_shot(item), 6)
    return encoded(picture, "JPEG", quality=90, exif=exif)


def take(path: Path, colour: str = "navy", on: str = "white", label: int = DRESS) -> Path:
    """Write a photo of what is a dress, a bag or trousers to whoever squints."""
    random = np.random.default_rng(list(path.name.encode()))
    picture = Image.new("RGB", (60, 80), on)
    draw = ImageDraw.Draw(picture)
    left, top = random.integers(4, 14, 2).tolist()
    if label == TROUSER:
        draw.rectangle((left, top, left + 12, top + 60), colour)
        draw.rectangle((left + 24, top, left + 36, top + 60), colour)
    elif label == DRESS:
        draw.polygon([(left + 18, top), (left, top + 60), (left + 40, top + 60)], colour)
    else:
        draw.rectangle((left, top + 20, left + 40, top + 44), colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path


def write_table(folder: Path, *rows: Sequence[str]) -> Path:
    """List photos of `folder`: file, source_label, accepted, sender."""
    with (folder / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "source_label", "accepted", "sender"), *rows])
    return folder
