"""Layers of the models over series, all of which take the mask of the slots."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.labels import CLASSES
from ich_tf.runtime.keras2 import keras

NUM_CLASSES = len(CLASSES)
# Scale of the distances between slices, mm: thick slices are about this far apart.
_STEP_MM = 5.0
# Number of slices either way that are smoothed over, and initial standard deviation in slices.
_REACH = 4
_SMOOTHING = 1.5
# float32 holds 1 - 6e-8 at most.
_EPSILON = 1e-6
_registered = keras.saving.register_keras_serializable(package="ich_tf")


@_registered
class SeriesContext(keras.layers.Layer):  # type: ignore[misc]
    """Packed series -> inputs of the model, logits, mask, and positions in mm.

    The inputs of a slice are its features and logits, their differences to those of the slices
    before and after it, and the distances to these slices; at the ends of the series the
    differences and distances are 0.
    """

    def __init__(self, feature_dim: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.feature_dim = feature_dim
        self._width = feature_dim + NUM_CLASSES

    def call(self, packed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Takes series [b, slots, d + 8] apart."""
        values, z_mm, mask = tf.split(packed, [self._width, 1, 1], axis=-1)
        has_previous, has_next = _shifted(mask, 1) * mask, _shifted(mask, -1) * mask
        context = [values]
        for offset, exists in ((1, has_previous), (-1, has_next)):
            context.append((values - _shifted(values, offset)) * exists)
            context.append((z_mm - _shifted(z_mm, offset)) * exists / _STEP_MM)
        inputs = tf.concat(context, axis=-1) * mask
        # Counted from the middle of the series, so that it does not matter where it lies in space.
        count = tf.maximum(tf.reduce_sum(mask, axis=1, keepdims=True), 1.0)
        middle = tf.reduce_sum(z_mm * mask, axis=1, keepdims=True) / count
        logits = values[..., self._width - NUM_CLASSES :]
        return inputs, logits, mask[..., 0] > 0, (z_mm - middle) * mask

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "feature_dim": self.feature_dim}


@_registered
class ReverseSlots(keras.layers.Layer):  # type: ignore[misc]
    """Reverses the slots of [b, slots, k]."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Reverses the slots."""
        return tf.reverse(x, axis=[1])


@_registered
class SlotAttentionMask(keras.layers.Layer):  # type: ignore[misc]
    """Mask of slices, bool [b, slots] -> mask of attention, [b, slots, slots]."""

    def call(self, mask: tf.Tensor) -> tf.Tensor:
        """Makes the mask."""
        # An empty slot attends to the slices, too, and a batch's empty series to its empty slots:
        # with nothing to attend to, softmax would be NaN in float16.
        mask = mask | ~tf.reduce_any(mask, axis=1, keepdims=True)
        return tf.repeat(mask[:, None, :], tf.shape(mask)[1], axis=1)


@_registered
class SlicePositions(keras.layers.Layer):  # type: ignore[misc]
    """Positions in mm -> sines and cosines of wavelengths from 10 to 400 mm, [b, slots, width]."""

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self._frequencies = (2 * np.pi / np.geomspace(10, 400, width // 2)).astype(np.float32)

    def call(self, z_mm: tf.Tensor) -> tf.Tensor:
        """Computes the waves of positions [b, slots, 1]."""
        angle = z_mm * self._frequencies
        return tf.concat([tf.sin(angle), tf.cos(angle)], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "width": self.width}


@_registered
class AttentionPooling(keras.layers.Layer):  # type: ignore[misc]
    """Mean over the slices with learned weights, [b, slots, k] -> [b, k]."""

    def build(self, shape: tf.TensorShape) -> None:
        """Makes the weights."""
        self._score = self.add_weight(
            name="score", shape=(shape[-1], 1), initializer="glorot_uniform"
        )
        super().build(shape)

    def call(self, x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Pools activations; the result is float32."""
        x = tf.cast(x, tf.float32)
        score = tf.linalg.matvec(x, self._score[:, 0])
        weight = tf.nn.softmax(tf.where(mask, score, -1e9), axis=-1)
        return tf.einsum("bs,bsk->bk", weight, x)


@_registered
class Smoothing(keras.layers.Layer):  # type: ignore[misc]
    """Logits [b, slots, 6] -> logits of a weighted mean of the probabilities of nearby slices.

    The weight of a slice is learned for each class and distance, and is the same both ways.
    Distances are counted in slices, so that a gap changes nothing here.
    """

    def build(self, shape: tf.TensorShape) -> None:
        """Makes the weights."""

        def gaussian(shape: Any, dtype: Any = None) -> tf.Tensor:
            return tf.constant(
                np.tile(-0.5 * (np.arange(shape[0]) / _SMOOTHING) ** 2, (shape[1], 1)).T, dtype
            )

        # Checkpoints know the weight by this attribute.
        self._weights_of = self.add_weight(
            name="log_weight", shape=(_REACH + 1, NUM_CLASSES), initializer=gaussian
        )
        super().build(shape)

    def call(self, logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Smooths logits."""
        present = tf.cast(mask, tf.float32)[..., None]
        probability = tf.sigmoid(logits) * present
        weight = tf.exp(self._weights_of)
        total, norm = weight[0] * probability, weight[0] * present
        left, right = (probability, present), (probability, present)
        for distance in range(1, _REACH + 1):
            left = _shifted(left[0], 1), _shifted(left[1], 1)
            right = _shifted(right[0], -1), _shifted(right[1], -1)
            total += weight[distance] * (left[0] + right[0])
            norm += weight[distance] * (left[1] + right[1])
        mean = tf.clip_by_value(total / tf.maximum(norm, 1e-6), _EPSILON, 1 - _EPSILON)
        return (tf.math.log(mean) - tf.math.log1p(-mean)) * present


@_registered
class Join(keras.layers.Layer):  # type: ignore[misc]
    """Logits of the series [b, 6], smoothed and added logits [b, slots, 6] -> [b, 1 + slots, 6]."""

    def build(self, shape: tf.TensorShape) -> None:
        """Makes the weights."""
        self._scale = self.add_weight(name="scale", shape=(NUM_CLASSES,), initializer="ones")
        super().build(shape)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Joins logits, which come as one list: Keras sorts further arguments by name in a copy."""
        whole, logits, added = inputs
        return tf.concat([whole[:, None], self._scale * logits + added], axis=1)


def _shifted(values: tf.Tensor, offset: int) -> tf.Tensor:
    """Moves [b, slots, k] by one slot, up or down as `offset` is 1 or -1, and fills in a 0."""
    zero = tf.zeros_like(values[:, :1])
    if offset > 0:
        return tf.concat([zero, values[:, :-1]], axis=1)
    return tf.concat([values[:, 1:], zero], axis=1)
