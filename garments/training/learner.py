"""What the training loop asks of a backend, and what all backends do alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
State = dict[str, npt.NDArray[np.generic]]

MOMENTUM = 0.9  # Nesterov's, for every weight
# AdamW's decay of the mean of squared gradients, and what keeps its root off zero: Loshchilov and
# Hutter, "Decoupled weight decay regularization", arXiv 1711.05101.
SQUARES, LEAST_ROOT = 0.999, 1e-8
AT_ONCE = 500  # pictures that a network answers for in one go when it is judged


class Batch(NamedTuple):
    """What one step learns from."""

    pictures: Pictures
    """(n, height, width, channels)"""
    targets: Floats
    """Ones for the classes that are right: (n, classes)."""
    weights: Floats
    """How much each picture counts: (n,)."""
    soft_targets: Floats | None = None
    """The probabilities that teachers gave: (n, classes)."""


class Learner(Protocol):
    """A Keras network in training, on one backend."""

    def step(self, batch: Batch, factor: float) -> Floats:
        """Take one step down the weighted mean loss of a batch; return each picture's loss (n,).

        What is raised is the summed probability of the targets; where there are teachers, the
        cross-entropy to their answers is the share TEACHERS_SHARE of the loss. `factor`, from 0 to
        1, scales the recipe's rates.
        """

    def logits(self, pictures: Pictures) -> Floats:
        """The answers (n, classes) of the network as it would be served."""

    def state(self) -> State:
        """All that the next step depends on, by name; weights are laid out as in Keras."""

    def restore(self, state: State) -> None:
        """Go back to a `state` of this network, whichever backend gave it.

        Raises KeyError, ValueError or RuntimeError for a state of another network.
        """

    def network(self) -> keras.Model:
        """The Keras network with the weights as they are now."""


def orthogonalised(network: keras.Model) -> set[str]:
    """The paths of the kernels that Muon is for: those of convolutions over several channels.

    Muon replaces the momentum by the orthogonal matrix nearest to it: K. Jordan, "Muon: an
    optimizer for hidden layers in neural networks", 2024. Where a batch normalisation follows a
    kernel, as a recipe with a `muon_learning_rate` supposes, its length is of no effect: it is kept
    at the root of the number of its filters.
    """
    return {
        layer.kernel.path
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel.shape[2] > 1
    }


def orthogonal(matrix: Any, norm: Callable[[Any], Any], transposed: Callable[[Any], Any]) -> Any:
    """Roughly the orthogonal matrix nearest to `matrix`, a tensor of the backend of `norm`.

    The iteration of Newton and Schulz with Jordan's coefficients: X ← aX + (bA + cA²)X for
    A = XXᵀ. Five rounds bring every singular value near enough to 1.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = (transposed(matrix) if tall else matrix) / (norm(matrix) + 1e-7)
    for _ in range(5):
        square = x @ transposed(x)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * (square @ square)) @ x
    return transposed(x) if tall else x
