"""Pictures of one data set that another one nearly repeats."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from garments.training.learner import Pictures

# Up to here, pairs of Fashion-MNIST are the same shot or shots of the same item; from 0.2 on most
# are different trousers.
LEAST_DIFFERENCE = 0.15
_AT_ONCE = 500


def repeated(pictures: Pictures, among: Pictures) -> npt.NDArray[np.bool_]:
    """Which of `pictures` (n, h, w) `among` (m, h, w) nearly holds, as it is or mirrored: (n,).

    Nearly means: root of the mean squared difference of the pixels, divided by the standard
    deviation of the picture's own, below LEAST_DIFFERENCE.
    """
    others = among.reshape(len(among), -1).astype(np.float32)
    lengths = np.einsum("ij,ij->i", others, others)
    return np.concatenate(
        [
            _repeated(part, others, lengths) | _repeated(part[:, :, ::-1], others, lengths)
            for start in range(0, len(pictures), _AT_ONCE)
            for part in [pictures[start : start + _AT_ONCE]]
        ]
    )


def _repeated(
    pictures: Pictures, others: npt.NDArray[np.float32], lengths: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    rows = pictures.reshape(len(pictures), -1).astype(np.float32)
    own = np.einsum("ij,ij->i", rows, rows)
    nearest = (lengths - 2 * rows @ others.T).min(axis=1) + own
    return np.asarray(nearest < LEAST_DIFFERENCE**2 * rows.var(axis=1) * rows.shape[1])
