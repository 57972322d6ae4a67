"""Dropout with masks drawn from a seed, so that a continued run draws the same masks."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import tensorflow as tf

from ich_tf.runtime.keras2 import keras

_SEED: ContextVar[tf.Tensor | None] = ContextVar("dropout_seed", default=None)


@contextmanager
def dropout_seed(seed: tf.Tensor) -> Iterator[None]:
    """Sets the seed of the dropout masks for the calls of models in a block.

    Args:
      seed: Seed of one step on one replica, int32 or int64 [2]. A tensor of the graph that is
        traced.
    """
    token = _SEED.set(seed)
    try:
        yield
    finally:
        _SEED.reset(token)


@keras.saving.register_keras_serializable(package="ich_tf")
class SeededDropout(keras.layers.Dropout):  # type: ignore[misc]
    """Keras's Dropout, whose mask follows within `dropout_seed` from the seed and the layer's name.

    Keras's generators keep a state of their own, which no checkpoint holds. The same seed draws the
    same mask with XLA and without.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Drops a share of the inputs in training, as Keras's Dropout does."""
        seed = _SEED.get()
        if seed is None or not training or not self.rate:
            return super().call(inputs, training=training)
        layer_seed = tf.random.experimental.stateless_fold_in(
            seed, zlib.crc32(self.name.encode()), alg="philox"
        )
        # Bits, not floats: XLA makes other floats of them than TensorFlow's kernels do.
        bits = tf.random.stateless_uniform(
            self._get_noise_shape(inputs), layer_seed, None, None, tf.uint32, alg="philox"
        )
        kept = bits >= tf.constant(round(self.rate * 2**32), tf.uint32)
        return tf.where(kept, inputs / (1 - self.rate), tf.zeros([], inputs.dtype))

    def _get_noise_shape(self, inputs: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(inputs)
        if self.noise_shape is None:
            return shape
        return tf.stack([shape[i] if n is None else n for i, n in enumerate(self.noise_shape)])
