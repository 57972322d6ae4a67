"""Forward and backward through a few slices of a bag at a time.

ResNet50 holds 120 MiB of activations for a slice of 224 px, and the loss of an exam is one number
of all of its slices: 40 of them take 5 GiB. With 8 at a time the whole process took 1.9 GiB
(float32, on a CPU). So the network reads the slices twice. First it computes the outputs of all,
chunk after chunk, and keeps no activations; the model over the series then gives the loss and its
gradient for each slice's outputs. With these the network passes forward and backward through each
chunk again, and the gradients of its weights are added up. They are those of one pass but for
rounding; dropout draws the same masks both times.

Batch normalisation sees a chunk instead of the batch, and follows its averages in the second pass
alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ich_tf.models.dropout import dropout_seed
from ich_tf.models.end_to_end import network_parts
from ich_tf.models.slice_model import batch_normalizations
from ich_tf.runtime.keras2 import keras
from ich_tf.training.forward_backward import ForwardBackward, Pass


class ChunkedForwardBackward(ForwardBackward):
    """`ForwardBackward` of a network and a model over its series, in the memory of a chunk."""

    def __init__(self, model: keras.Model, *arguments: Any, slice_chunk: int, **options: Any):
        """Takes the model apart.

        Args:
          model: Result of `EndToEndSpec.build`.
          *arguments: The other arguments of `ForwardBackward`.
          slice_chunk: Number of slices whose activations are held at once, 1 or more.
          **options: Keyword arguments of `ForwardBackward`.
        """
        super().__init__(model, *arguments, **options)
        self._chunk = slice_chunk
        self._network, self._pack, self._series = network_parts(model)

    def _part(self, inputs: Any, labels: Any, number: tf.Tensor, scale: tf.Tensor | None) -> Pass:
        images, places = inputs
        seed = tf.stack([tf.constant(self._seed, tf.int64), number])
        bags, slices = images.shape[:2]
        count = bags * slices
        # Fewer in a chunk than asked for if that makes all chunks alike.
        chunks = math.ceil(count / self._chunk)
        size = math.ceil(count / chunks)
        # Places to fill the last chunk up repeat slices, whose outputs are not used.
        order = tf.reshape(tf.range(chunks * size) % count, [chunks, size])
        flat = tf.reshape(images, [count, *images.shape[2:]])

        def read(chunk: tf.Tensor) -> tf.Tensor:
            chunk_seed = tf.random.experimental.stateless_fold_in(seed, chunk, alg="philox")
            with dropout_seed(chunk_seed):
                return self._network(tf.gather(flat, order[chunk]), training=True)

        outputs = tf.reshape(self._all_outputs(read, chunks, size), [chunks * size, -1])[:count]
        variables = self._model.trainable_variables
        own = {variable.ref() for variable in self._network.trainable_variables}
        series = [variable for variable in variables if variable.ref() not in own]
        with tf.GradientTape(watch_accessed_variables=False) as tape, dropout_seed(seed):
            tape.watch([outputs, *series])
            logits = self._series(self._pack([outputs, places]), training=True)
            loss = tf.reduce_sum(self._loss(labels, logits)) / self._batch_size
            scaled_loss = loss if scale is None else loss * scale
        of_outputs, *of_series = tape.gradient(
            scaled_loss, [outputs, *series], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        padded = tf.pad(of_outputs, [[0, chunks * size - count], [0, 0]])
        by_chunk = tf.reshape(padded, [chunks, size, outputs.shape[-1]])
        network = [variable for variable in variables if variable.ref() in own]
        of_network = _summed_gradients(read, by_chunk, network, chunks)
        gradients = {
            variable.ref(): gradient
            for variable, gradient in zip(
                [*series, *network], [*of_series, *of_network], strict=True
            )
        }
        return Pass(loss, [gradients[variable.ref()] for variable in variables])

    def _all_outputs(
        self, read: Callable[[tf.Tensor], tf.Tensor], chunks: int, size: int
    ) -> tf.Tensor:
        """Outputs of all chunks, [chunks, size, 6 + F]; the moving statistics stay as they were."""
        statistics = [
            variable
            for layer in batch_normalizations(self._network)
            if layer.trainable
            for variable in (layer.moving_mean, layer.moving_variance)
        ]
        former = [variable.read_value() for variable in statistics]
        width = self._network.output_shape[-1]

        def add(chunk: tf.Tensor, outputs: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            return chunk + 1, outputs.write(chunk, read(chunk))

        array = tf.TensorArray(tf.float32, chunks, element_shape=[size, width])
        _, array = tf.while_loop(
            lambda chunk, _: chunk < chunks,
            add,
            [tf.constant(0), array],
            parallel_iterations=1,
        )
        for variable, value in zip(statistics, former, strict=True):
            # In a replica's own context, where an assignment would want to know how to aggregate.
            tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
        return array.stack()


def _summed_gradients(
    read: Callable[[tf.Tensor], tf.Tensor],
    of_outputs: tf.Tensor,
    variables: list[tf.Variable],
    chunks: int,
) -> list[tf.Tensor]:
    """Gradients of variables, summed over the chunks, by those of the chunks' outputs."""
    if not variables:
        return []

    def add(chunk: tf.Tensor, *sums: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            outputs = read(chunk)
        gradients = tape.gradient(
            outputs,
            variables,
            output_gradients=of_outputs[chunk],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return [chunk + 1, *(a + b for a, b in zip(sums, gradients, strict=True))]

    zeros = [tf.zeros(variable.shape) for variable in variables]
    _, *sums = tf.while_loop(
        lambda chunk, *_: chunk < chunks,
        add,
        [tf.constant(0), *zeros],
        parallel_iterations=1,
    )
    return list(sums)
