"""Training pictures in colour: photos, altered as another photographer would take them, and
Fashion-MNIST pictures drawn as catalogue shots. All are float32 (height, width, 3), 0 to 255."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from garments.preprocess.photo import mean_colour
from garments.training.learner import Floats

Size = tuple[int, int]  # height and width

# How a photo is altered, at most or in standard deviations; a person still names the item with
# ease.
ZOOM = (-0.15, 0.15)  # logarithm of what is seen, of the picture's own extent
STRETCH = 0.1  # logarithm
TURN = 8.0  # degrees, standard deviation
SHIFT = 0.06  # of the picture
LIGHT = 0.3  # brightness and contrast, either way
TINT = 0.15  # of each colour, either way
LYING = 0.03  # the share of the photos that are taken sideways or upside down
COVERED = 0.3  # the share in which something hides up to a ninth


def photographed(picture: Image.Image, size: Size, random: np.random.Generator) -> Floats:
    """An RGB `picture`, mirrored half of the time, seen from elsewhere and in another light."""
    return _covered(_relit(_seen_anew(picture, size, random), random), random)


def _seen_anew(picture: Image.Image, size: Size, random: np.random.Generator) -> Floats:
    """Zoom, stretch, turn, mirror and shift, all in one resampling."""
    height, width = size
    taken = np.array(picture.size)
    extent = taken
    zoom, stretch = random.uniform(*ZOOM), random.uniform(-STRETCH, STRETCH)
    angle = np.radians(random.normal(0, TURN))
    if random.random() < LYING:
        quarters = random.integers(1, 4)
        angle += np.pi / 2 * quarters
        extent = taken[::-1] if quarters % 2 else taken
    mirrored = -1 if random.random() < 0.5 else 1
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    # From a pixel of the result, counted from its centre, to the place in the picture.
    scale = (extent / [width, height]).max() * np.exp(zoom + np.array([stretch, -stretch]))
    matrix = turn * scale * [mirrored, 1]
    centre = taken / 2 + taken * random.uniform(-SHIFT, SHIFT, 2)
    offset = centre - matrix @ [width / 2, height / 2]
    seen = picture.transform(
        (width, height),
        Image.Transform.AFFINE,
        (*matrix[0], offset[0], *matrix[1], offset[1]),
        Image.Resampling.BILINEAR,
        fillcolor=mean_colour(picture),
    )
    return np.asarray(seen, np.float32)


def _relit(picture: Floats, random: np.random.Generator) -> Floats:
    """Another brightness, contrast, saturation and colour of the light, now and then none."""
    contrast, brightness = random.uniform(1 - LIGHT, 1 + LIGHT, 2)
    picture = (picture - picture.mean()) * contrast + picture.mean() * brightness
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * random.uniform(0, 2)
    picture *= random.uniform(1 - TINT, 1 + TINT, 3).astype(np.float32)
    if random.random() < 0.1:
        picture = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    if random.random() < 0.15:  # the colour of a garment tells nothing of its class
        picture = picture[..., random.permutation(3)]
    return picture


def _covered(picture: Floats, random: np.random.Generator) -> Floats:
    if random.random() < COVERED:
        sides = np.array(picture.shape[:2])
        height, width = random.integers(sides // 8, sides // 3)
        top, left = random.integers(0, sides - [height, width])
        picture[top : top + height, left : left + width] = random.uniform(0, 255, 3)
    return picture


def catalogue_shot(item: npt.NDArray[np.uint8], shape: Size, random: np.random.Generator) -> Floats:
    """A Fashion-MNIST `item` (28, 28), bright on black, as the shot that it may come from.

    Dark on white again, or on another colour, itself of some colour, of some size, somewhere.
    """
    size = int(min(shape) * random.uniform(0.45, 0.98))
    large = Image.fromarray(item).resize((size, size), Image.Resampling.BICUBIC)
    share = np.asarray(large, np.float32)[..., None] / 255
    background = random.uniform(225, 255) * np.ones(3)
    if random.random() < 0.4:
        background = random.uniform(0, 255, 3)
    dye = random.uniform(0.3, 1, 3) if random.random() < 0.6 else np.ones(3)
    shot = np.broadcast_to(background, (*shape, 3)).astype(np.float32)
    opaque = np.clip(share / 0.08, 0, 1)
    top, left = random.integers(0, np.array(shape) - size + 1)
    shot[top : top + size, left : left + size] = (
        opaque * 255 * (1 - share * dye) + (1 - opaque) * background
    )
    if random.random() < 0.5:
        shot = shot[:, ::-1]
    noise = random.normal(0, random.uniform(0, 8), (*shape, 1))
    return np.asarray(shot + noise, np.float32)
