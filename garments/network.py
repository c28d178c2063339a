"""The Keras architectures: uint8 pictures in, one logit a class or kind out."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt
from keras import layers


def reference(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """The plain CNN whose published result is 90.61 % and loss 0.27."""
    inputs = keras.Input(shape, dtype="uint8")
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(32, 3, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(64, 3, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(128, 3, activation="relu")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(0.5)(x)
    return keras.Model(inputs, layers.Dense(classes)(x), name="reference")


def residual(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """A small residual network that halves the picture early.

    Basic blocks of He et al. (arXiv 1512.03385, section 4.2): a stem of 16 channels, two
    blocks at half the size with 32, two at a quarter with 64, then the maximum over the
    picture. 210,138 parameters and 16.4 million multiply-accumulates for 28×28×1.
    """
    return _residual(shape, classes, "residual", blocks=(0, 2, 2))


def residual_fine(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """The same with a block of 16 channels before the picture is halved.

    214,874 parameters and 20.0 million multiply-accumulates for 28×28×1.
    """
    return _residual(shape, classes, "residual-fine", blocks=(1, 2, 2))


def residual_large(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """The second with four times the channels and twice as many blocks of the first size.

    To teach: 3.5 million parameters and 376 million multiply-accumulates for 28×28×1.
    """
    return _residual(shape, classes, "residual-large", blocks=(2, 2, 2), channels=64)


def _residual(
    shape: tuple[int, int, int],
    classes: int,
    name: str,
    blocks: tuple[int, ...],
    channels: int = 16,
) -> keras.Model:
    """`blocks` at the whole size, with so many `channels`; at half of it with twice these, …"""
    inputs = keras.Input(shape, dtype="uint8")
    x = layers.Rescaling(1 / 255)(inputs)
    for halvings, repeats in enumerate(blocks):
        width = channels * 2**halvings
        x = layers.ReLU()(_convolution(x, width, strides=2 if halvings else 1))
        for _ in range(repeats):
            x = _residual_block(x, width)
    x = layers.GlobalMaxPooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes)(x), name=name)


def _convolution(x: keras.KerasTensor, channels: int, strides: int = 1) -> keras.KerasTensor:
    x = layers.Conv2D(channels, 3, strides=strides, padding="same", use_bias=False)(x)
    return layers.BatchNormalization()(x)


def _residual_block(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
    change = layers.ReLU()(_convolution(x, channels))
    change = _convolution(change, channels)
    return layers.ReLU()(layers.Add()([x, change]))


# The stages of EfficientNet-Lite: side of the depthwise kernels, stride of the first block, how
# many times wider a block is inside than its input, and its channels.
_STAGES = (
    (3, 1, 1, 16),
    (3, 2, 6, 24),
    (5, 2, 6, 40),
    (3, 2, 6, 80),
    (5, 1, 6, 112),
    (5, 2, 6, 192),
    (3, 1, 6, 320),
)


def efficientnet_lite0(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """EfficientNet-Lite0 of the TensorFlow team, 2020, its batch normalisations folded away.

    Inverted bottlenecks as in Tan and Le (arXiv 1905.11946), with ReLU6 and without squeeze and
    excitation, so that it can be quantised. What a batch normalisation would do after training
    is part of each kernel and bias, which makes a step of fine-tuning cost half. Beside the mean of
    each feature over the picture, the classes are told by its maximum: a zip or a collar is small.
    """
    return _efficientnet_lite(shape, classes, "efficientnet-lite0", blocks=(1, 2, 2, 3, 3, 4, 1))


def efficientnet_lite1(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """The same with five blocks more, which is a third more work."""
    return _efficientnet_lite(shape, classes, "efficientnet-lite1", blocks=(1, 3, 3, 4, 4, 5, 1))


def _efficientnet_lite(
    shape: tuple[int, int, int], classes: int, name: str, blocks: tuple[int, ...]
) -> keras.Model:
    """`blocks` of each stage."""
    inputs = keras.Input(shape, dtype="uint8")
    x = layers.Rescaling(1 / 128, offset=-127 / 128)(inputs)
    x = _relu6(layers.Conv2D(32, 3, strides=2, padding="same", name="stem")(x))
    number = 0
    for repeats, stage in zip(blocks, _STAGES, strict=True):
        kernel, first_stride, widening, channels = stage
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            x = _inverted_bottleneck(x, f"block{number}", kernel, stride, widening, channels)
            number += 1
    x = _relu6(layers.Conv2D(1280, 1, name="head")(x))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    x = layers.Dropout(0.2)(x)
    outputs = layers.Dense(classes, kernel_initializer="zeros", name="classes")(x)
    return keras.Model(inputs, outputs, name=name)


def _inverted_bottleneck(
    x: keras.KerasTensor, name: str, kernel: int, stride: int, widening: int, channels: int
) -> keras.KerasTensor:
    inside = x
    if widening > 1:
        wide = layers.Conv2D(widening * x.shape[-1], 1, name=f"{name}_expand")
        inside = _relu6(wide(x))
    each = layers.DepthwiseConv2D(kernel, stride, padding="same", name=f"{name}_depthwise")
    inside = layers.Conv2D(channels, 1, name=f"{name}_project")(_relu6(each(inside)))
    return layers.Add()([inside, x]) if inside.shape == x.shape else inside


def _relu6(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.ReLU(max_value=6)(x)


ARCHITECTURES: dict[str, Callable[[tuple[int, int, int], int], keras.Model]] = {
    "reference": reference,
    "residual": residual,
    "residual-fine": residual_fine,
    "residual-large": residual_large,
    "efficientnet-lite0": efficientnet_lite0,
    "efficientnet-lite1": efficientnet_lite1,
}


def with_probabilities(
    model: keras.Model, temperature: float, costs: npt.NDArray[np.float32] | None = None
) -> keras.Model:
    """`model` followed by softmax(logits / temperature), as layers of the graph.

    Where the network tells more kinds apart than there are classes, `costs` (kinds, classes) has
    what it costs to give a class for a kind: 1 if that is wrong, less if it is right. The class of
    the least cost has the probability of all kinds that it is right for; that of the others is
    parted evenly among the classes of each, whether or not these are right for more. They add up
    to 1 less what is of no class.
    """
    logits = layers.Rescaling(1 / temperature, name="temperature")(model.output)
    found = layers.Softmax(name="probabilities")(logits)
    if costs is not None:
        right_for = (costs < 1).astype(np.float32)
        # Not argmin, which asks for bits of floats that ONNX has no operators for.
        _, best = keras.ops.top_k(-_weighted(costs, "costs")(found), 1)
        answer = keras.ops.one_hot(keras.ops.squeeze(best, axis=1), costs.shape[1])
        speaking_for = found * _weighted(right_for.T, "answered")(answer)
        confidence = answer * keras.ops.sum(speaking_for, axis=1, keepdims=True)
        shares = right_for / np.maximum(right_for.sum(axis=1, keepdims=True), 1)
        others = _weighted(shares, "shares")(found - speaking_for)
        # One of the two is 0 everywhere; a sum would be made one of eight-bit integers.
        found = keras.ops.maximum(confidence, others)
    return keras.Model(model.input, found, name=model.name)


def _weighted(weights: npt.NDArray[np.float32], name: str) -> layers.Dense:
    """A layer of sums with these `weights` (in, out), which stay."""
    layer = layers.Dense(weights.shape[1], use_bias=False, trainable=False, name=name)
    layer.build((None, weights.shape[0]))
    layer.set_weights([weights])
    return layer


def multiply_accumulates(model: keras.Model) -> int:
    """Multiply-accumulates of one picture, counted over convolutions and dense layers."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            _, height, width, _ = layer.output.shape
            total += height * width * math.prod(layer.kernel.shape)
        elif isinstance(layer, layers.Dense):
            total += math.prod(layer.kernel.shape)
    return total
