"""Train a Keras network on PyTorch: with fused kernels, and on an accelerator if there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping

import keras
import numpy as np
import numpy.typing as npt
import torch
from keras import layers
from torch import Tensor
from torch.nn import functional

from garments.training.learner import (
    AT_ONCE,
    LEAST_ROOT,
    MOMENTUM,
    SQUARES,
    Batch,
    Floats,
    Pictures,
    State,
    orthogonal,
    orthogonalised,
)
from garments.training.recipe import TEACHERS_SHARE, Recipe
from garments.training.recorded import Recorded
from garments.training_request import TrainingError

# Pictures that take a step together where not all need to: what layers make of them stays cached.
_IN_CACHE = 8


class TorchLearner:
    """A Keras network whose layers PyTorch carries out. See `Learner` for the methods.

    `step` and `logits` raise TrainingError for a layer that has no translation.
    """

    def __init__(self, network: keras.Model, recipe: Recipe, seed: int) -> None:
        torch.manual_seed(seed)
        self._network = network
        self._recipe = recipe
        self.accelerated = torch.cuda.is_available()
        self._device = torch.device("cuda" if self.accelerated else "cpu")
        self._bfloat16 = recipe.bfloat16 and _multiplies_bfloat16(self._device)
        if self.accelerated:  # all steps are of one size, so it pays to try every kernel
            torch.backends.cudnn.benchmark = True
            torch.backends.cuda.matmul.allow_tf32 = True
        normalised = any(isinstance(layer, layers.BatchNormalization) for layer in network.layers)
        self._apart = not (normalised or self.accelerated or self._bfloat16)
        self._depthwise = {
            layer.kernel.path
            for layer in network.layers
            if isinstance(layer, layers.DepthwiseConv2D)
        }
        self._tensors = {
            variable.path: self._from_keras(variable.path, variable.numpy()).to(self._device)
            for variable in network.weights
        }
        for variable in network.trainable_variables:
            self._tensors[variable.path].requires_grad_()
        self._momenta = {
            variable.path: torch.zeros_like(self._tensors[variable.path], requires_grad=False)
            for variable in network.trainable_variables
        }
        self._squares = {
            path: torch.zeros_like(momentum) for path, momentum in self._momenta.items()
        }
        self._steps = 0
        self._by_muon = orthogonalised(network) if recipe.muon_learning_rate else set()
        self._recorded: Recorded | None = None

    def step(self, batch: Batch, factor: float) -> Floats:
        """Take one step and return each picture's loss."""
        self._steps += 1
        parts = batch._asdict().items()
        given = {name: torch.from_numpy(part) for name, part in parts if part is not None}
        if self.accelerated and not self._recipe.adam:
            if self._recorded is None:
                changing = [*self._tensors.values(), *self._momenta.values()]
                self._recorded = Recorded(self._learn, changing, given, self._device)
            if self._recorded.fits(given):
                return self._recorded.replay(given, factor)
        given = {name: part.to(self._device) for name, part in given.items()}
        losses = self._learn(given, torch.tensor(factor, device=self._device))
        return np.asarray(losses.cpu().numpy())

    def _learn(self, given: Mapping[str, Tensor], factor: Tensor) -> Tensor:
        """Take one step; nothing of it waits for the device."""
        pictures = len(given["weights"])
        at_once = _IN_CACHE if self._apart else pictures
        found = []
        for start in range(0, pictures, at_once):
            some = {name: part[start : start + at_once] for name, part in given.items()}
            losses = self._losses(some)
            ((losses * some["weights"]).sum() / pictures).backward()
            found.append(losses.detach())
        with torch.no_grad():
            for path, momentum in self._momenta.items():
                self._update(path, momentum, factor)
        return torch.cat(found)

    def _losses(self, given: Mapping[str, Tensor]) -> Tensor:
        likelihood = functional.log_softmax(self._answer(given["pictures"], True), dim=1)
        losses = -torch.logsumexp(likelihood + given["targets"].log(), dim=1)
        if "soft_targets" in given:
            losses = losses.lerp(-(given["soft_targets"] * likelihood).sum(dim=1), TEACHERS_SHARE)
        return losses

    def _update(self, path: str, momentum: Tensor, factor: Tensor) -> None:
        tensor = self._tensors[path]
        gradient = tensor.grad
        tensor.grad = None
        recipe = self._recipe
        peak = recipe.muon_learning_rate if path in self._by_muon else recipe.learning_rate
        rate = factor * peak
        if path in self._by_muon:
            momentum.mul_(MOMENTUM).add_(gradient)
            rows = (gradient + MOMENTUM * momentum).flatten(1)
            direction = orthogonal(rows, torch.linalg.norm, torch.t)
            tensor.mul_(math.sqrt(len(tensor)) / tensor.norm())
            tensor.sub_(direction.view(tensor.shape) * rate)
        elif recipe.adam:
            squares = self._squares[path]
            momentum.lerp_(gradient, 1 - MOMENTUM)
            squares.lerp_(gradient.square(), 1 - SQUARES)
            root = (squares / (1 - SQUARES**self._steps)).sqrt_().add_(LEAST_ROOT)
            tensor.mul_(1 - rate * recipe.weight_decay)
            tensor.sub_(momentum / root * (rate / (1 - MOMENTUM**self._steps)))
        else:
            gradient = gradient.add(tensor, alpha=recipe.weight_decay)
            momentum.mul_(MOMENTUM).add_(gradient)
            tensor.sub_((gradient + MOMENTUM * momentum) * rate)

    def logits(self, pictures: Pictures) -> Floats:
        """Answer without training."""
        parts = np.array_split(pictures, math.ceil(len(pictures) / AT_ONCE))
        with torch.no_grad():
            return np.concatenate(
                [
                    self._answer(torch.from_numpy(part).to(self._device), False).cpu().numpy()
                    for part in parts
                ]
            )

    def state(self) -> State:
        """Weights, momenta and the random generator, by name."""
        found: State = {
            f"{kind}.{index}": self._to_keras(path, tensor)
            for kind, tensors in self._kinds().items()
            for index, (path, tensor) in enumerate(tensors.items())
        }
        return found | {
            "steps": np.array(self._steps),
            "torch_random": torch.get_rng_state().numpy(),
        }

    def restore(self, state: State) -> None:
        """Go back to a state."""
        self._steps = int(state["steps"])
        with torch.no_grad():
            for kind, tensors in self._kinds().items():
                for index, (path, tensor) in enumerate(tensors.items()):
                    tensor.copy_(self._from_keras(path, state[f"{kind}.{index}"]))
        if "torch_random" in state:
            torch.set_rng_state(torch.from_numpy(state["torch_random"]))

    def _kinds(self) -> dict[str, dict[str, Tensor]]:
        """What a step depends on, by its name in a state and by the path of the weight."""
        kinds = {"weight": self._tensors, "momentum": self._momenta}
        return kinds | ({"squares": self._squares} if self._recipe.adam else {})

    def network(self) -> keras.Model:
        """The Keras network with the present weights."""
        self._network.set_weights([self._to_keras(*item) for item in self._tensors.items()])
        return self._network

    def _answer(self, pictures: Tensor, training: bool) -> Tensor:
        """The logits of `pictures`, layer by layer in the order in which Keras built them."""
        # Channels stay last in memory, which is the faster way on a CPU, and as Keras has them.
        picture = pictures.permute(0, 3, 1, 2).float()
        values = {id(self._network.input): picture}
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            for layer in self._network.layers[1:]:
                given = layer.input if isinstance(layer.input, list) else [layer.input]
                found = self._carry_out(layer, [values[id(tensor)] for tensor in given], training)
                values[id(layer.output)] = found
        return values[id(self._network.output)].float()

    def _carry_out(self, layer: keras.Layer, given: list[Tensor], training: bool) -> Tensor:
        x = given[0]
        weights = [self._tensors[variable.path] for variable in layer.weights]
        match layer:
            case layers.Rescaling():
                return x * layer.scale + layer.offset
            case layers.DepthwiseConv2D():
                # A processor goes back through one in bfloat16 five times as slowly.
                with torch.autocast(self._device.type, enabled=False):
                    return _activated(layer, _convolution(layer, x.float(), *weights))
            case layers.Conv2D(kernel_size=(1, 1), strides=(1, 1)) if self._apart:
                # For few pictures faster than a convolution. Channels are last in memory.
                kernel, *bias = weights
                pixels = functional.linear(x.permute(0, 2, 3, 1), kernel.flatten(1), *bias)
                return _activated(layer, pixels.permute(0, 3, 1, 2))
            case layers.Conv2D():
                return _activated(layer, _convolution(layer, x, *weights))
            case layers.BatchNormalization():
                gamma, beta, mean, variance = weights
                share = 1 - layer.momentum
                return functional.batch_norm(
                    x, mean, variance, gamma, beta, training, share, layer.epsilon
                )
            case layers.ReLU(max_value=None):
                return functional.relu(x)
            case layers.ReLU():
                return functional.hardtanh(x, 0.0, layer.max_value)
            case layers.Add():
                return x + given[1]
            case layers.Concatenate(axis=-1):
                return torch.cat(given, dim=1)
            case layers.MaxPooling2D():
                return functional.max_pool2d(x, layer.pool_size, layer.strides)
            case layers.GlobalMaxPooling2D():
                return x.amax((2, 3))
            case layers.GlobalAveragePooling2D():
                return x.mean((2, 3))
            case layers.Flatten():
                return x.permute(0, 2, 3, 1).flatten(1)
            case layers.Dense():
                kernel, bias = weights
                return _activated(layer, functional.linear(x, kernel.T, bias))
            case layers.Softmax(axis=-1):
                return functional.softmax(x.float(), dim=-1)
            case layers.Dropout():
                return functional.dropout(x, layer.rate, training)
        raise _untranslated(type(layer).__name__)

    def _from_keras(self, path: str, values: npt.NDArray[np.generic]) -> Tensor:
        """Keras keeps a kernel as (height, width, in, out), PyTorch as (out, in, …).

        Depthwise kernels are (height, width, in, 1) and (in, 1, …).
        """
        tensor = torch.from_numpy(np.array(values))
        if tensor.ndim < 4:
            return tensor
        order = (2, 3, 0, 1) if path in self._depthwise else (3, 2, 0, 1)
        return tensor.permute(order).contiguous(memory_format=torch.channels_last)

    def _to_keras(self, path: str, tensor: Tensor) -> npt.NDArray[np.generic]:
        values = np.array(tensor.detach().cpu().numpy())
        if values.ndim < 4:
            return values
        order = (2, 3, 0, 1) if path in self._depthwise else (2, 3, 1, 0)
        return np.asarray(values.transpose(order))


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is multiplied by units of its own; elsewhere it is slower than float32."""
    able = torch.cpu.get_capabilities()
    return device.type == "cuda" or bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def _convolution(
    layer: layers.Conv2D | layers.DepthwiseConv2D,
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    groups = x.shape[1] if isinstance(layer, layers.DepthwiseConv2D) else 1
    if layer.padding == "same":
        # As in TensorFlow: what cannot be halved is padded below and on the right.
        high, wide = (
            max((math.ceil(size / stride) - 1) * stride + reach - size, 0)
            for size, stride, reach in zip(
                x.shape[2:], layer.strides, layer.kernel_size, strict=True
            )
        )
        if high % 2 == wide % 2 == 0:  # no need to copy the picture
            around = high // 2, wide // 2
            return functional.conv2d(x, kernel, bias, layer.strides, around, groups=groups)
        x = functional.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
    return functional.conv2d(x, kernel, bias, layer.strides, groups=groups)


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
