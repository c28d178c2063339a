"""Train a Keras network on PyTorch: with fused kernels, and on an accelerator if there is one."""

from __future__ import annotations

import math

import keras
import numpy as np
import numpy.typing as npt
import torch
from keras import layers
from torch import Tensor
from torch.nn import functional

from garments.training.errors import TrainingError
from garments.training.learner import (
    AT_ONCE,
    MOMENTUM,
    Floats,
    Pictures,
    State,
    orthogonal,
    orthogonalised,
)
from garments.training.recipe import Recipe


class TorchLearner:
    """A Keras network whose layers PyTorch carries out. See `Learner` for the methods.

    `step` and `logits` raise TrainingError for a layer that has no translation.
    """

    def __init__(self, network: keras.Model, recipe: Recipe, seed: int) -> None:
        torch.manual_seed(seed)
        self._network = network
        self._recipe = recipe
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._tensors = {
            variable.path: _from_keras(variable.numpy()).to(self._device)
            for variable in network.weights
        }
        for variable in network.trainable_variables:
            self._tensors[variable.path].requires_grad_()
        self._momenta = {
            variable.path: torch.zeros_like(self._tensors[variable.path], requires_grad=False)
            for variable in network.trainable_variables
        }
        self._by_muon = orthogonalised(network) if recipe.muon_rate else set()

    def step(self, pictures: Pictures, targets: Floats, weights: Floats, factor: float) -> Floats:
        """Take one step and return each picture's loss."""
        wanted = torch.from_numpy(targets).to(self._device)
        losses = functional.cross_entropy(self._answer(pictures, True), wanted, reduction="none")
        (losses * torch.from_numpy(weights).to(self._device)).mean().backward()
        with torch.no_grad():
            for path, momentum in self._momenta.items():
                self._update(path, momentum, factor)
        return np.asarray(losses.detach().cpu().numpy())

    def _update(self, path: str, momentum: Tensor, factor: float) -> None:
        tensor = self._tensors[path]
        gradient = tensor.grad
        tensor.grad = None
        if path in self._by_muon:
            momentum.mul_(MOMENTUM).add_(gradient)
            rows = (gradient + MOMENTUM * momentum).flatten(1)
            direction = orthogonal(rows, torch.linalg.norm, torch.t)
            tensor.mul_(math.sqrt(len(tensor)) / tensor.norm())
            tensor.sub_(direction.view(tensor.shape), alpha=self._recipe.muon_rate * factor)
        else:
            gradient = gradient.add(tensor, alpha=self._recipe.weight_decay)
            momentum.mul_(MOMENTUM).add_(gradient)
            tensor.sub_(gradient + MOMENTUM * momentum, alpha=self._recipe.rate * factor)

    def logits(self, pictures: Pictures) -> Floats:
        """Answer without training."""
        parts = np.array_split(pictures, math.ceil(len(pictures) / AT_ONCE))
        with torch.no_grad():
            return np.concatenate([self._answer(part, False).cpu().numpy() for part in parts])

    def state(self) -> State:
        """Weights, momenta and the random generator, by name."""
        tensors = {
            **{f"weight.{index}": tensor for index, tensor in enumerate(self._tensors.values())},
            **{f"momentum.{index}": tensor for index, tensor in enumerate(self._momenta.values())},
        }
        found: State = {name: _to_keras(tensor) for name, tensor in tensors.items()}
        return found | {"torch_random": torch.get_rng_state().numpy()}

    def restore(self, state: State) -> None:
        """Go back to a state."""
        with torch.no_grad():
            for kind, tensors in (("weight", self._tensors), ("momentum", self._momenta)):
                for index, tensor in enumerate(tensors.values()):
                    tensor.copy_(_from_keras(state[f"{kind}.{index}"]))
        if "torch_random" in state:
            torch.set_rng_state(torch.from_numpy(state["torch_random"]))

    def network(self) -> keras.Model:
        """The Keras network with the present weights."""
        self._network.set_weights([_to_keras(tensor) for tensor in self._tensors.values()])
        return self._network

    def _answer(self, pictures: Pictures, training: bool) -> Tensor:
        """The logits of `pictures`, layer by layer in the order in which Keras built them."""
        # Channels stay last in memory, which is the faster way on a CPU, and as Keras has them.
        picture = torch.from_numpy(pictures).to(self._device).permute(0, 3, 1, 2).float()
        values = {id(self._network.input): picture}
        for layer in self._network.layers[1:]:
            given = layer.input if isinstance(layer.input, list) else [layer.input]
            found = self._carry_out(layer, [values[id(tensor)] for tensor in given], training)
            values[id(layer.output)] = found
        return values[id(self._network.output)]

    def _carry_out(self, layer: keras.Layer, given: list[Tensor], training: bool) -> Tensor:
        x = given[0]
        weights = [self._tensors[variable.path] for variable in layer.weights]
        match layer:
            case layers.Rescaling():
                return x * layer.scale + layer.offset
            case layers.Conv2D():
                return _activated(layer, _convolution(layer, x, *weights))
            case layers.BatchNormalization():
                gamma, beta, mean, variance = weights
                share = 1 - layer.momentum
                return functional.batch_norm(
                    x, mean, variance, gamma, beta, training, share, layer.epsilon
                )
            case layers.ReLU():
                return functional.relu(x)
            case layers.Add():
                return x + given[1]
            case layers.MaxPooling2D():
                return functional.max_pool2d(x, layer.pool_size, layer.strides)
            case layers.GlobalMaxPooling2D():
                return x.amax((2, 3))
            case layers.Flatten():
                return x.permute(0, 2, 3, 1).flatten(1)
            case layers.Dense():
                kernel, bias = weights
                return _activated(layer, functional.linear(x, kernel.T, bias))
            case layers.Dropout():
                return functional.dropout(x, layer.rate, training)
        raise _untranslated(type(layer).__name__)


def _convolution(
    layer: layers.Conv2D, x: Tensor, kernel: Tensor, bias: Tensor | None = None
) -> Tensor:
    if layer.padding == "same":
        # As in TensorFlow: what cannot be halved is padded below and on the right.
        high, wide = (
            max((math.ceil(size / stride) - 1) * stride + reach - size, 0)
            for size, stride, reach in zip(
                x.shape[2:], layer.strides, layer.kernel_size, strict=True
            )
        )
        if high % 2 == wide % 2 == 0:  # no need to copy the picture
            return functional.conv2d(x, kernel, bias, layer.strides, (high // 2, wide // 2))
        x = functional.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
    return functional.conv2d(x, kernel, bias, layer.strides)


def _activated(layer: keras.Layer, x: Tensor) -> Tensor:
    if layer.activation is keras.activations.relu:
        return functional.relu(x)
    if layer.activation is keras.activations.linear:
        return x
    raise _untranslated(f"the activation {layer.activation.__name__}")


def _untranslated(what: str) -> TrainingError:
    return TrainingError(
        f"{what} has no translation to PyTorch: train with --backend tensorflow, "
        "or add it to garments/training/torch_learner.py"
    )


def _from_keras(values: npt.NDArray[np.generic]) -> Tensor:
    """Keras keeps a convolution's kernel as (height, width, in, out), PyTorch as (out, in, …)."""
    tensor = torch.from_numpy(np.array(values))
    if tensor.ndim < 4:
        return tensor
    return tensor.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)


def _to_keras(tensor: Tensor) -> npt.NDArray[np.generic]:
    values = np.array(tensor.detach().cpu().numpy())
    return values.transpose(2, 3, 1, 0) if values.ndim == 4 else values
