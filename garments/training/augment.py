"""Training pictures, altered at random: uint8 (n, height, width) in and out, lengths in pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from garments.training.learner import Floats, Pictures

# What cameras and scanners do at most, to an item that a person still recognises with ease.
TURN = 10.0  # degrees, either way
ZOOM = 0.12
BLUR = 1.2  # standard deviation
GAIN = 0.4  # of brightness and, around the picture's mean, of contrast
NOISE = 20.0  # standard deviation, of 255


def augment(
    images: Pictures, random: np.random.Generator, *, shift: int, cutout: int, camera: float
) -> Pictures:
    """Mirror half of `images`, shift each by up to `shift` and blank a square in it.

    The square of side `cutout` may lie partly outside the picture, as in DeVries and Taylor,
    arXiv 1708.04552. A share `camera` of the pictures is also altered as a camera would.
    """
    altered = _shifted(images, random, shift)
    mirrored = random.random(len(images)) < 0.5
    altered[mirrored] = altered[mirrored, :, ::-1]
    # The rest stays as sharp as what the network will be asked about most.
    seen_by_camera = random.random(len(images)) < camera
    if seen_by_camera.any():
        altered[seen_by_camera] = _as_by_camera(altered[seen_by_camera], random)
    count, height, width = images.shape
    rows = _covered(random, count, height, cutout)
    columns = _covered(random, count, width, cutout)
    altered[rows[:, :, None] & columns[:, None, :]] = 0
    return altered


def _shifted(images: Pictures, random: np.random.Generator, most: int) -> Pictures:
    count, height, width = images.shape
    padded = np.pad(images, ((0, 0), (most, most), (most, most)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    top, left = random.integers(0, 2 * most + 1, (2, count))
    shifted: Pictures = windows[np.arange(count), top, left]
    return shifted


def _covered(
    random: np.random.Generator, count: int, length: int, side: int
) -> npt.NDArray[np.bool_]:
    """The positions of an axis that a square of its own covers, for each picture: (n, length)."""
    centres = random.integers(0, length, count)
    offsets = np.arange(length) - centres[:, None] + side // 2
    return (offsets >= 0) & (offsets < side)


def _as_by_camera(images: Pictures, random: np.random.Generator) -> Pictures:
    """Turn and zoom a little, and blur, relight and add noise: each to half of the pictures."""
    count = len(images)

    def drawn(least: float, most: float, otherwise: float) -> Floats:
        """A strength for each picture, and `otherwise` for half of them: (n, 1, 1)."""
        strength = random.uniform(least, most, count)
        kept = np.where(random.random(count) < 0.5, strength, otherwise)
        return kept.astype(np.float32)[:, None, None]

    seen = warped(images, drawn(-TURN, TURN, 0.0), drawn(1 - ZOOM, 1 + ZOOM, 1.0))
    seen = blurred(seen, drawn(0.0, BLUR, 0.0))
    mean = seen.mean(axis=(1, 2), keepdims=True)
    seen = (seen - mean) * drawn(1 - GAIN, 1 + GAIN, 1.0) + mean
    seen *= drawn(1 - GAIN, 1 + GAIN, 1.0)
    seen += random.standard_normal(seen.shape, np.float32) * drawn(0.0, NOISE, 0.0)
    return np.asarray(np.clip(np.rint(seen), 0, 255), np.uint8)


def warped(images: Pictures, degrees: Floats, zoom: Floats) -> Floats:
    """Turn and enlarge about the centre, between pixels by bilinear interpolation.

    Each picture has its own `degrees` and `zoom`, both (n, 1, 1).
    """
    count, height, width = images.shape
    y = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    x = np.arange(width, dtype=np.float32) - (width - 1) / 2
    cosine, sine = np.cos(np.radians(degrees)) / zoom, np.sin(np.radians(degrees)) / zoom
    # Where each pixel comes from, in a picture with a black pixel more on every side.
    from_y = np.clip(cosine * y - sine * x + (height + 1) / 2, 0, height + 0.999)
    from_x = np.clip(sine * y + cosine * x + (width + 1) / 2, 0, width + 0.999)
    top, left = from_y.astype(np.intp), from_x.astype(np.intp)
    down, right = from_y - top, from_x - left
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1))).astype(np.float32).ravel()
    corner = (np.arange(count)[:, None, None] * (height + 2) + top) * (width + 2) + left
    upper = padded[corner] * (1 - right) + padded[corner + 1] * right
    corner += width + 2
    lower = padded[corner] * (1 - right) + padded[corner + 1] * right
    between: Floats = upper * (1 - down) + lower * down
    return between


def blurred(images: Floats, sigma: Floats) -> Floats:
    """A Gaussian of its own `sigma` (n, 1, 1) for each picture, of seven pixels; 0 is sharp."""
    offsets = np.arange(-3, 4, dtype=np.float32)
    weights = np.exp(-0.5 * (offsets / np.maximum(sigma, 1e-3)) ** 2)
    weights /= weights.sum(axis=2, keepdims=True)
    for axis in (1, 2):
        size = images.shape[axis]
        widths = [(3, 3) if axis == place else (0, 0) for place in range(3)]
        padded = np.pad(images, widths, mode="edge")
        images = sum(
            (
                weights[:, :, tap : tap + 1] * padded.take(range(tap, tap + size), axis)
                for tap in range(7)
            ),
            start=np.float32(0),
        )
    return images
