"""A sheet of the surest mistakes, to see with one's own eyes what the figures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from garments.preprocess import read_picture
from garments.preprocess.photo import in_colour
from garments.training.judge import CLASSES, Judged
from garments.training.labelled import NONE_OF_TEN
from garments.training.photos import Photo
from garments.training.shown import LIMITS

_COUNT, _COLUMNS = 40, 8
_WIDTH, _HEIGHT, _TEXT = 180, 220, 40  # of a photo with its caption, in pixels


def draw_mistakes(judged: Judged, photos: Sequence[Photo], path: Path) -> None:
    """Draw the wrong answers of `judged`, a row for each of `photos`, surest first.

    Below each photo stand the class that was answered, how sure it was, and what is right.
    """
    ten = judged.probabilities[:, :NONE_OF_TEN]
    named, confidence = ten.argmax(axis=1), ten.max(axis=1)
    wrong = np.flatnonzero(judged.targets[np.arange(len(ten)), named] == 0)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:_COUNT]
    lines = -(-max(len(surest), 1) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _WIDTH, lines * _HEIGHT), "white")
    draw = ImageDraw.Draw(sheet)
    for place, row in enumerate(surest):
        left, top = place % _COLUMNS * _WIDTH, place // _COLUMNS * _HEIGHT
        data = photos[row].path.read_bytes()
        picture = in_colour(read_picture(data, LIMITS, side=_WIDTH))
        picture.thumbnail((_WIDTH - 4, _HEIGHT - _TEXT))
        sheet.paste(picture, (left, top))
        right = ", ".join(CLASSES[number] for number in sorted(photos[row].accepted))
        told = f"{CLASSES[named[row]]} {confidence[row]:.0%}\nright: {right}"
        draw.multiline_text((left, top + _HEIGHT - _TEXT), told, "black")
    sheet.save(path, quality=85)
