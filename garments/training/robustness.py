"""How many right answers the flaws of cameras and scanners cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from garments.training.learner import Pictures

Alteration = Callable[[Image.Image, np.random.Generator], Image.Image]


def _noise(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    noisy = np.asarray(picture) + random.normal(0, 13, picture.size[::-1])
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def _jpeg(picture: Image.Image, _: np.random.Generator) -> Image.Image:
    file = BytesIO()
    picture.save(file, "JPEG", quality=50)
    return Image.open(file)


def _turn(degrees: float) -> Alteration:
    return lambda picture, _: picture.rotate(degrees, Image.Resampling.BICUBIC)


def _zoom(factor: float) -> Alteration:
    def altered(picture: Image.Image, _: np.random.Generator) -> Image.Image:
        width, height = picture.size
        rest = (1 - 1 / factor) / 2
        box = (rest * width, rest * height, (1 - rest) * width, (1 - rest) * height)
        extent = Image.Transform.EXTENT
        return picture.transform(picture.size, extent, box, Image.Resampling.BICUBIC)

    return altered


# Strengths at which a person still reads a picture of 28×28 pixels with ease.
ALTERATIONS: Mapping[str, Alteration] = {
    "noise of 5 %": _noise,
    "blur of 0.7 pixels": lambda picture, _: picture.filter(ImageFilter.GaussianBlur(0.7)),
    "30 % darker": lambda picture, _: ImageEnhance.Brightness(picture).enhance(0.7),
    "30 % brighter": lambda picture, _: ImageEnhance.Brightness(picture).enhance(1.3),
    "40 % less contrast": lambda picture, _: ImageEnhance.Contrast(picture).enhance(0.6),
    "40 % more contrast": lambda picture, _: ImageEnhance.Contrast(picture).enhance(1.4),
    "turned by 7° to the left": _turn(7),
    "turned by 7° to the right": _turn(-7),
    "10 % smaller": _zoom(0.9),
    "10 % larger": _zoom(1.1),
    "JPEG of quality 50": _jpeg,
}


def altered(images: Pictures, name: str) -> Pictures:
    """`images` (n, height, width), each altered as `name` in ALTERATIONS says; always alike."""
    random = np.random.default_rng(0)
    alteration = ALTERATIONS[name]
    return np.stack([np.asarray(alteration(Image.fromarray(image), random)) for image in images])
