"""Dropout whose draws follow from a seed, so that a continued run drops what it would have."""

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
    """Calls of models within it, in training mode, draw from this seed.

    Args:
      seed: int32 or int64 [2], of one step on one replica. A tensor of the graph that is traced.
    """
    token = _SEED.set(seed)
    try:
        yield
    finally:
        _SEED.reset(token)


class SeededDropout(keras.layers.Dropout):  # type: ignore[misc]
    """Keras's Dropout; within `dropout_seed` it draws by seed and its own name alone.

    Keras's generators keep a state of their own, which no checkpoint holds. The same seed drops
    the same with XLA and without.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """As Keras's."""
        seed = _SEED.get()
        if seed is None or not training or not self.rate:
            return super().call(inputs, training=training)
        own_seed = tf.random.experimental.stateless_fold_in(
            seed, zlib.crc32(self.name.encode()), alg="philox"
        )
        # Bits, not floats: XLA makes other floats of them than TensorFlow's kernels do.
        bits = tf.random.stateless_uniform(
            self._get_noise_shape(inputs), own_seed, None, None, tf.uint32, alg="philox"
        )
        kept = bits >= tf.constant(round(self.rate * 2**32), tf.uint32)
        return tf.where(kept, inputs / (1 - self.rate), tf.zeros([], inputs.dtype))

    def _get_noise_shape(self, inputs: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(inputs)
        if self.noise_shape is None:
            return shape
        return tf.stack([shape[i] if n is None else n for i, n in enumerate(self.noise_shape)])


def with_seeded_dropout(model: keras.Model) -> keras.Model:
    """The same layers, sharing their weights, with each Dropout replaced by a seeded one."""

    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.layers.Dropout):
            return SeededDropout.from_config(layer.get_config())
        return layer

    return keras.models.clone_model(model, clone_function=replace)
