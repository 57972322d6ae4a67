"""Loss and gradients of one replica's part of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from ich_tf.errors import ConfigError
from ich_tf.models.dropout import dropout_seed
from ich_tf.runtime.keras2 import keras
from ich_tf.training.heat_map_teacher import HeatMapTeacher

# Labels [n, 6] and logits [n, 6] -> loss of each example, float32 [n]. Tasks over series have other
# shapes (`losses.series_loss`), those with masks tuples (`losses.segmentation_loss`).
Loss = Callable[[Any, Any], tf.Tensor]

# Seeds of a step, one for each part of its global batch.
_SEEDS_PER_STEP = 2**20


class Pass(NamedTuple):
    """Result of forward and backward.

    Attributes:
      loss: Sum over the replica's examples / the global batch size, float32 [].
      gradients: Its gradient for each trainable variable, times the loss scale.
    """

    loss: tf.Tensor
    gradients: list[tf.Tensor]


class ForwardBackward:
    """Forward and backward of a model over the parts of a replica's batch, one after the other.

    The loss is a sum over the replica's examples / the global batch size, so that the sum of the
    replicas' gradients is the gradient of the global mean.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Loss,
        *,
        batch_size: int,
        accumulation: int,
        seed: int,
        teacher: HeatMapTeacher | None = None,
    ) -> None:
        """Stores the arguments.

        Args:
          model: The model.
          loss: Loss of each example.
          batch_size: Examples in a global batch.
          accumulation: Number of parts of a replica's batch.
          seed: Seed of the dropout masks, in [0, 2**63).
          teacher: Teacher whose heat maps the loss gets behind the labels; None for none.

        Raises:
          ConfigError: If there are more parts than seeds for them.
        """
        if accumulation >= _SEEDS_PER_STEP:
            raise ConfigError(f"accumulation is {accumulation}; expected below {_SEEDS_PER_STEP}.")
        self._model, self._loss, self._teacher = model, loss, teacher
        self._batch_size, self._accumulation, self._seed = batch_size, accumulation, seed

    def __call__(
        self,
        inputs: Any,
        labels: Any,
        *,
        step: tf.Tensor,
        replica: tf.Tensor,
        scale: tf.Tensor | None,
    ) -> Pass:
        """Computes the sums over a replica's parts, in the replica's context.

        Args:
          inputs: The model's input, a tensor [n, ...] or a tuple of them.
          labels: Labels, a tensor [n, ...] or a tuple of them.
          step: Number of the step, int64 [].
          replica: Index of the replica whose batch this is, int32 [].
          scale: Loss scale, float32 []; None for 1.
        """
        # The number of the part in the global batch, so that dropout draws the same masks however
        # the batch is cut.
        first = step * _SEEDS_PER_STEP + tf.cast(replica, tf.int64) * self._accumulation
        if self._accumulation == 1:
            return self._part(inputs, labels, first, scale)
        parts = tf.nest.map_structure(self._split, (inputs, labels))

        # A loop: XLA would be free to compute parts side by side, in the memory of all of them.
        def add_part(number: tf.Tensor, loss: tf.Tensor, *sums: tf.Tensor) -> list[tf.Tensor]:
            part_inputs, part_labels = tf.nest.map_structure(lambda part: part[number], parts)
            part = self._part(part_inputs, part_labels, first + tf.cast(number, tf.int64), scale)
            gradients = [a + b for a, b in zip(sums, part.gradients, strict=True)]
            return [number + 1, loss + part.loss, *gradients]

        zeros = [tf.zeros(variable.shape) for variable in self._model.trainable_variables]
        _, loss, *gradients = tf.while_loop(
            lambda number, *_: number < self._accumulation,
            add_part,
            [tf.constant(0), tf.zeros([]), *zeros],
            parallel_iterations=1,
        )
        return Pass(loss, gradients)

    def _part(self, inputs: Any, labels: Any, number: tf.Tensor, scale: tf.Tensor | None) -> Pass:
        seed = tf.stack([tf.constant(self._seed, tf.int64), number])
        variables = self._model.trainable_variables
        if self._teacher is not None:
            step = number // _SEEDS_PER_STEP
            labels = (*labels, self._teacher(inputs, labels[0], step))
        # What rests is not watched: the backward pass ends above it.
        with tf.GradientTape(watch_accessed_variables=False) as tape, dropout_seed(seed):
            tape.watch(variables)
            outputs = self._model(inputs, training=True)
            loss = tf.reduce_sum(self._loss(labels, outputs)) / self._batch_size
            scaled_loss = loss if scale is None else loss * scale
        gradients = tape.gradient(
            scaled_loss,
            variables,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return Pass(loss, gradients)

    def _split(self, value: tf.Tensor) -> tf.Tensor:
        """[n, ...] -> [parts, n / parts, ...]."""
        count = value.shape[0] // self._accumulation
        return tf.reshape(value, [self._accumulation, count, *value.shape[1:]])
