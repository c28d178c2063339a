"""Batches of altered training pictures, drawn by a generator that the epoch seeds."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt

from garments.dataset import Dataset


def augment(
    images: npt.NDArray[np.uint8], random: np.random.Generator, *, shift: int, cutout: int
) -> npt.NDArray[np.uint8]:
    """Mirror half of `images` (n, h, w), shift each by up to `shift` and blank a square.

    The square of side `cutout` may lie partly outside the picture, as in DeVries and Taylor,
    arXiv 1708.04552. All lengths are in pixels.
    """
    count, height, width = images.shape
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    top = random.integers(0, 2 * shift + 1, count)
    left = random.integers(0, 2 * shift + 1, count)
    altered: npt.NDArray[np.uint8] = windows[np.arange(count), top, left]
    mirrored = random.random(count) < 0.5
    altered[mirrored] = altered[mirrored, :, ::-1]
    rows = _covered(random, count, height, cutout)
    columns = _covered(random, count, width, cutout)
    altered[rows[:, :, None] & columns[:, None, :]] = 0
    return altered


def _covered(
    random: np.random.Generator, count: int, length: int, side: int
) -> npt.NDArray[np.bool_]:
    """The positions of an axis that a square of its own covers, for each picture: (n, length)."""
    centres = random.integers(0, length, count)
    offsets = np.arange(length) - centres[:, None] + side // 2
    return (offsets >= 0) & (offsets < side)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """The training pictures in an order of their own every epoch, altered if asked for.

    Order and alterations follow from the seed and the epoch alone.
    """

    def __init__(
        self, dataset: Dataset, classes: int, batch_size: int, seed: int, shift: int, cutout: int
    ) -> None:
        super().__init__()
        self._dataset = dataset
        self._targets = np.eye(classes, dtype=np.float32)
        self._batch_size = batch_size
        self._seed = seed
        self._shift = shift
        self._cutout = cutout
        self._start(epoch=0)

    def __len__(self) -> int:
        # A last, smaller batch would weigh its pictures more; the next epoch has them.
        return max(1, len(self._dataset) // self._batch_size)

    def on_epoch_end(self) -> None:
        self._start(self._epoch + 1)

    def _start(self, epoch: int) -> None:
        self._epoch = epoch
        random = np.random.default_rng((self._seed, epoch))
        self._order = random.permutation(len(self._dataset))

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        start = index * self._batch_size
        batch = self._dataset.take(self._order[start : start + self._batch_size])
        images = batch.images
        if self._shift or self._cutout:
            random = np.random.default_rng((self._seed, self._epoch, index))
            images = augment(images, random, shift=self._shift, cutout=self._cutout)
        return images[..., None], self._targets[batch.labels]
