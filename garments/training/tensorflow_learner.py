"""Train a Keras network on TensorFlow, the backend that every installation has."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

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


class TensorFlowLearner:
    """A Keras network that TensorFlow trains. See `Learner` for the methods."""

    def __init__(self, network: keras.Model, recipe: Recipe) -> None:
        self._network = network
        self._recipe = recipe
        self._momenta = [
            tf.Variable(tf.zeros(variable.shape), trainable=False)
            for variable in network.trainable_variables
        ]
        self._squares = [
            tf.Variable(tf.zeros(variable.shape), trainable=False)
            for variable in (network.trainable_variables if recipe.adam else ())
        ]
        self._steps = tf.Variable(0, trainable=False)
        self._by_muon = orthogonalised(network) if recipe.muon_learning_rate else set()
        # One graph for batches of every size: a graph of its own for the first size seen would
        # round otherwise, and a resumed run sees another size first.
        signature = (
            tf.TensorSpec(network.input.shape, tf.uint8),
            tf.TensorSpec(network.output.shape, tf.float32),
            tf.TensorSpec((None,), tf.float32),
            tf.TensorSpec(network.output.shape, tf.float32),
            tf.TensorSpec((), tf.float32),
            tf.TensorSpec((), tf.float32),
        )
        self._compiled = tf.function(self._step, input_signature=signature)

    def step(self, batch: Batch, factor: float) -> Floats:
        """Take one step and return each picture's loss."""
        soft_targets, share = batch.soft_targets, TEACHERS_SHARE
        if soft_targets is None:
            soft_targets, share = batch.targets, 0
        losses = self._compiled(
            batch.pictures,
            batch.targets,
            batch.weights,
            soft_targets,
            np.float32(factor),
            np.float32(share),
        )
        return np.asarray(losses)

    def _step(
        self,
        pictures: tf.Tensor,
        targets: tf.Tensor,
        weights: tf.Tensor,
        soft_targets: tf.Tensor,
        factor: tf.Tensor,
        share: tf.Tensor,
    ) -> tf.Tensor:
        variables = [variable.value for variable in self._network.trainable_variables]
        with tf.GradientTape() as tape:
            logits = self._network(pictures, training=True)
            likelihood = tf.nn.log_softmax(logits)
            losses = -tf.reduce_logsumexp(likelihood + tf.math.log(targets), axis=1)
            apart = -tf.reduce_sum(soft_targets * likelihood, axis=1)
            losses = (1 - share) * losses + share * apart
            loss = tf.reduce_mean(losses * weights)
        gradients = tape.gradient(loss, variables)
        self._steps.assign_add(1)
        if self._recipe.adam:
            steps = zip(variables, gradients, self._momenta, self._squares, strict=True)
            for step in steps:
                self._update_by_adam(*step, factor)
            return losses
        paths = [variable.path for variable in self._network.trainable_variables]
        for weight in zip(paths, variables, gradients, self._momenta, strict=True):
            self._update(*weight, factor)
        return losses

    def _update_by_adam(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        momentum: tf.Variable,
        squares: tf.Variable,
        factor: tf.Tensor,
    ) -> None:
        steps = tf.cast(self._steps, tf.float32)
        momentum.assign(MOMENTUM * momentum + (1 - MOMENTUM) * gradient)
        squares.assign(SQUARES * squares + (1 - SQUARES) * gradient**2)
        root = tf.sqrt(squares / (1 - SQUARES**steps)) + LEAST_ROOT
        rate = self._recipe.learning_rate * factor
        direction = momentum / (1 - MOMENTUM**steps) / root
        variable.assign(variable * (1 - rate * self._recipe.weight_decay) - rate * direction)

    def _update(
        self,
        path: str,
        variable: tf.Variable,
        gradient: tf.Tensor,
        momentum: tf.Variable,
        factor: tf.Tensor,
    ) -> None:
        if path in self._by_muon:
            momentum.assign(MOMENTUM * momentum + gradient)
            filters = variable.shape[-1]
            columns = tf.reshape(gradient + MOMENTUM * momentum, (-1, filters))
            direction = tf.reshape(orthogonal(columns, tf.norm, tf.transpose), variable.shape)
            scaled = variable * (math.sqrt(filters) / tf.norm(variable))
            variable.assign(scaled - self._recipe.muon_learning_rate * factor * direction)
        else:
            gradient += self._recipe.weight_decay * variable
            momentum.assign(MOMENTUM * momentum + gradient)
            rate = self._recipe.learning_rate * factor
            variable.assign_sub(rate * (gradient + MOMENTUM * momentum))

    def logits(self, pictures: Pictures) -> Floats:
        """Answer without training."""
        found = self._network.predict(pictures, batch_size=AT_ONCE, verbose=0)
        return np.asarray(found)

    def state(self) -> State:
        """Weights, momenta and the generators of the dropout layers, by name."""
        found = {
            f"{kind}.{index}": variable.numpy()
            for kind, variables in self._kinds().items()
            for index, variable in enumerate(variables)
        }
        return found | {"steps": self._steps.numpy()}

    def restore(self, state: State) -> None:
        """Go back to a state."""
        self._steps.assign(state["steps"])
        for kind, variables in self._kinds().items():
            for index, variable in enumerate(variables):
                # Another backend's generators are of another kind.
                if kind != "keras_random" or f"{kind}.{index}" in state:
                    variable.assign(state[f"{kind}.{index}"])

    def _kinds(self) -> dict[str, list[tf.Variable]]:
        """What a step depends on, by its name in a state."""
        return {
            "weight": [variable.value for variable in self._network.weights],
            "momentum": self._momenta,
            "squares": self._squares,
            "keras_random": [variable.value for variable in self._generators()],
        }

    def _generators(self) -> list[keras.Variable]:
        weights = {variable.path for variable in self._network.weights}
        return [variable for variable in self._network.variables if variable.path not in weights]

    def network(self) -> keras.Model:
        """The Keras network, which has the present weights all the time."""
        return self._network
