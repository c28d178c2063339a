"""The Keras architectures: uint8 pictures in, one logit a class out."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
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
    inputs = keras.Input(shape, dtype="uint8")
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.ReLU()(_convolution(x, 16))
    for channels in (32, 64):
        x = layers.ReLU()(_convolution(x, channels, strides=2))
        for _ in range(2):
            x = _residual_block(x, channels)
    x = layers.GlobalMaxPooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes)(x), name="residual")


def _convolution(x: keras.KerasTensor, channels: int, strides: int = 1) -> keras.KerasTensor:
    x = layers.Conv2D(channels, 3, strides=strides, padding="same", use_bias=False)(x)
    return layers.BatchNormalization()(x)


def _residual_block(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
    change = layers.ReLU()(_convolution(x, channels))
    change = _convolution(change, channels)
    return layers.ReLU()(layers.Add()([x, change]))


ARCHITECTURES: dict[str, Callable[[tuple[int, int, int], int], keras.Model]] = {
    "reference": reference,
    "residual": residual,
}


def with_probabilities(model: keras.Model, temperature: float) -> keras.Model:
    """`model` followed by softmax(logits / temperature), as layers of the graph."""
    logits = layers.Rescaling(1 / temperature, name="temperature")(model.output)
    return keras.Model(model.input, layers.Softmax(name="probabilities")(logits), name=model.name)


def multiply_accumulates(model: keras.Model) -> int:
    """Multiply-accumulates of one picture, counted over convolutions and dense layers."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            _, height, width, _ = layer.output.shape
            total += height * width * math.prod(layer.kernel.shape)
        elif isinstance(layer, layers.Dense):
            total += math.prod(layer.kernel.shape)
    return total
