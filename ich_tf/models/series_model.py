"""A model over the ordered slices of a series: features and logits in, better logits out.

A series is read as one tensor [slots, d + 8] (`pack`): features, logits of the slice model,
position along the normal, and a mask; slots after the last slice are empty. The output is
[1 + slots, 6]: the logits of the series as a whole, then those of its slices. The model starts as
the slice model smoothed along the series, because a few hundred series, which is all that a
hospital may have, would not teach it so much. The logits that it adds begin at 0.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.labels import CLASSES
from ich_tf.models.architectures import SERIES_BACKBONES
from ich_tf.models.dropout import SeededDropout
from ich_tf.records.series_features import SeriesFeatures
from ich_tf.runtime.keras2 import keras

NUM_CLASSES = len(CLASSES)
VERSION = 2
# Position and mask of a slot.
_EXTRA = 2
# Scale of the distances between slices, mm: thick slices are about this far apart.
_STEP_MM = 5.0
_HEADS = 4
# Number of slices either way that are smoothed over, and initial standard deviation in slices.
_REACH = 4
_SMOOTHING = 1.5
# float32 holds 1 - 6e-8 at most.
_EPSILON = 1e-6


def packed_width(feature_dim: int) -> int:
    """Number of values in a slot, for features of `feature_dim` values."""
    return feature_dim + NUM_CLASSES + _EXTRA


def pack(series: SeriesFeatures, slots: int) -> np.ndarray:
    """Packs a series as the model reads it.

    Args:
      series: Series of n slices.
      slots: Number of slots, n or more.

    Returns:
      float32 [slots, d + 8].
    """
    return pack_arrays(series.features, series.logits, series.z_mm, slots)


def pack_arrays(
    features: np.ndarray, logits: np.ndarray, z_mm: np.ndarray, slots: int
) -> np.ndarray:
    """Packs the arrays of a series as the model reads them.

    Args:
      features: Features of the slices, [n, d].
      logits: Logits of the slice model, [n, 6].
      z_mm: Positions along the normal, mm, [n], rising.
      slots: Number of slots, n or more.

    Returns:
      float32 [slots, d + 8]: features, logits, position counted from the first slice, and 1 for a
      slice; 0 in all columns of an empty slot.

    Examples:
      >>> packed = pack_arrays(np.ones((2, 1)), np.zeros((2, 6)), np.array([40.0, 45.0]), 3)
      >>> packed[:, [0, -2, -1]].tolist()
      [[1.0, 0.0, 1.0], [1.0, 5.0, 1.0], [0.0, 0.0, 0.0]]
    """
    number = len(features)
    if number > slots:
        raise ValueError(f"a series has {number} slices; there are {slots} slots.")
    packed = np.zeros((slots, packed_width(features.shape[1])), np.float32)
    # Counted from the first slice: float32 has no digits to spare for the position of the table.
    columns = [features, logits, (z_mm - z_mm[0])[:, None], np.ones((number, 1))]
    packed[:number] = np.concatenate(columns, axis=1)
    return packed


def pack_arrays_graph(
    features: tf.Tensor, logits: tf.Tensor, z_mm: tf.Tensor, mask: tf.Tensor
) -> tf.Tensor:
    """`pack_arrays` of several series in a graph, in slots already.

    Args:
      features: float32 [b, slots, d]; finite in empty slots, too.
      logits: float32 [b, slots, 6]; finite in empty slots, too.
      z_mm: Positions counted from the first slice, mm, float32 [b, slots]; 0 in empty slots.
      mask: float32 [b, slots], 1 for a slice and 0 for an empty slot.

    Returns:
      float32 [b, slots, d + 8].
    """
    # Values in empty slots must not reach the gradients of others.
    values = tf.concat([features, logits], axis=-1) * mask[..., None]
    return tf.concat([values, z_mm[..., None], mask[..., None]], axis=-1)


def turned_series(packed: np.ndarray, number: int) -> np.ndarray:
    """Turns a packed series upside down; positions still rise from 0.

    Args:
      packed: float32 [slots, d + 8].
      number: Number of its slices.

    Examples:
      >>> packed = pack_arrays(np.zeros((3, 1)), np.zeros((3, 6)), np.array([0.0, 5.0, 15.0]), 4)
      >>> turned_series(packed, 3)[:, -2].tolist()
      [0.0, 10.0, 15.0, 0.0]
    """
    turned = packed.copy()
    turned[:number] = packed[:number][::-1]
    turned[:number, -2] = packed[number - 1, -2] - turned[:number, -2]
    return turned


def turned_series_graph(packed: tf.Tensor) -> tf.Tensor:
    """`turned_series` of several series in a graph, float32 [b, slots, d + 8]."""
    mask = packed[..., -1:]
    count = tf.cast(tf.reduce_sum(mask[..., 0], axis=1), tf.int32)
    turned = tf.reverse_sequence(packed, count, seq_axis=1)
    # The last slice comes first now.
    z_mm = (turned[:, :1, -2:-1] - turned[..., -2:-1]) * mask
    return tf.concat([turned[..., :-2], z_mm, mask], axis=-1)


def build_series_model(
    backbone: str,
    feature_dim: int,
    *,
    units: int = 64,
    layers: int = 2,
    dropout: float = 0.0,
    bias: np.ndarray | None = None,
) -> keras.Model:
    """Builds a model over the slices of a series.

    Args:
      backbone: `bigru` or `transformer`.
      feature_dim: Number of features of a slice, d.
      units: Width of each direction of a bigru, half the width of a transformer's layer.
      layers: Number of layers.
      dropout: Share of the activations dropped between layers, in [0, 1).
      bias: Prior probability of each class for a series as a whole, with whose logits training
        starts, float [6]; None starts at 0.5.

    Returns:
      A model: float32 [b, slots, d + 8] -> float32 logits [b, 1 + slots, 6], for any number of
      slots. Logits of empty slots mean nothing.
    """
    if backbone not in _BODIES:
        raise ValueError(f"backbone is {backbone!r}; expected one of {', '.join(_BODIES)}.")
    dense = keras.layers.Dense
    packed = keras.Input((None, packed_width(feature_dim)), name="series")
    inputs, logits, mask, z_mm = _Unpack(feature_dim, name="context", dtype="float32")(packed)
    x = dense(2 * units, activation="relu", name="project")(inputs)
    x = SeededDropout(dropout, name="dropout_0")(x)
    x = _BODIES[backbone](x, mask, z_mm, units, layers, dropout)
    # Zero at first: training starts from the smoothed slice model's loss.
    added = dense(NUM_CLASSES, kernel_initializer="zeros", dtype="float32", name="slices")(x)
    pooled = _AttentionPooling(name="pool", dtype="float32")(x, mask)
    prior = np.clip(np.full(NUM_CLASSES, 0.5) if bias is None else bias, 1e-4, 1 - 1e-4)
    whole = dense(
        NUM_CLASSES,
        bias_initializer=keras.initializers.Constant(np.log(prior / (1 - prior)).tolist()),
        dtype="float32",
        name="whole",
    )(pooled)
    smoothed = _Smoothing(name="smoothing", dtype="float32")(logits, mask)
    outputs = _Join(name="logits", dtype="float32")(whole, smoothed, added)
    return keras.Model(packed, outputs, name=f"ich_{backbone}")


@dataclasses.dataclass(frozen=True)
class SeriesSpec:
    """Description of a series model, from which it is built again and fed.

    Attributes:
      backbone: Name of the model, one of `architectures.SERIES_BACKBONES`.
      feature_dim: Number of features of a slice.
      units, layers, dropout: Arguments of `build_series_model`.
      reverse: Whether a prediction is the mean over both directions of the series.
      prior: Share of positive slices of each class in the training folds.
      networks: SHA-256 of the weights of each network whose features the model reads; empty, as are
        the next three, for a model that was trained together with its network (`end_to_end`).
      network_dirs: Work dirs of these networks' runs, relative to this run's.
      validation_folds: Fold that each network did not train on.
      axes_sha256: SHA-256 of `axes.npz`, which brings the features into one set of axes.
      classes: Classes of the logits, in order.
      kind: Kind of the spec, in model.json.
      version: Version of the spec's format, `VERSION`.
    """

    backbone: str
    feature_dim: int
    units: int
    layers: int
    dropout: float
    reverse: bool
    prior: tuple[float, ...]
    networks: tuple[str, ...] = ()
    network_dirs: tuple[str, ...] = ()
    validation_folds: tuple[int, ...] = ()
    axes_sha256: str = ""
    classes: tuple[str, ...] = CLASSES
    kind: str = "series"
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"version is {self.version}; this version reads {VERSION}")
        if tuple(self.classes) != CLASSES or len(self.prior) != len(CLASSES):
            raise ValueError(f"classes are {', '.join(self.classes)}; expected {CLASSES}")
        if self.backbone not in SERIES_BACKBONES:
            raise ValueError(f"backbone is {self.backbone!r}; expected one of {SERIES_BACKBONES}")

    def build(self, bias: np.ndarray | None = None) -> keras.Model:
        """Builds the model; `bias` is that of `build_series_model`."""
        return build_series_model(
            self.backbone,
            self.feature_dim,
            units=self.units,
            layers=self.layers,
            dropout=self.dropout,
            bias=bias,
        )


class _Unpack(keras.layers.Layer):  # type: ignore[misc]
    """Packed series -> inputs of the model, logits, mask, and positions in mm.

    The inputs of a slice are its features and logits, their differences to those of the slices
    before and after it, and the distances to these slices; at the ends of the series the
    differences and distances are 0.
    """

    def __init__(self, feature_dim: int, **kwargs: Any) -> None:
        super().__init__(trainable=False, autocast=False, **kwargs)
        self._width = feature_dim + NUM_CLASSES

    def call(self, packed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
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


def _shifted(values: tf.Tensor, offset: int) -> tf.Tensor:
    """Moves [b, slots, k] by one slot, up or down as `offset` is 1 or -1, and fills in a 0."""
    zero = tf.zeros_like(values[:, :1])
    if offset > 0:
        return tf.concat([zero, values[:, :-1]], axis=1)
    return tf.concat([values[:, 1:], zero], axis=1)


def _bigru(
    x: tf.Tensor, mask: tf.Tensor, z_mm: tf.Tensor, units: int, layers: int, dropout: float
) -> tf.Tensor:
    for number in range(layers):
        # Keras's Bidirectional would wrap variables, and their names would tell less.
        forward = keras.layers.GRU(units, return_sequences=True, name=f"forward_{number}")
        backward = keras.layers.GRU(
            units, return_sequences=True, go_backwards=True, name=f"backward_{number}"
        )
        rising = forward(x, mask=mask)
        falling = _Reverse(name=f"reverse_{number}")(backward(x, mask=mask))
        x = keras.layers.Concatenate(name=f"both_{number}")([rising, falling])
        x = SeededDropout(dropout, name=f"dropout_{number + 1}")(x)
    return x


def _transformer(
    x: tf.Tensor, mask: tf.Tensor, z_mm: tf.Tensor, units: int, layers: int, dropout: float
) -> tf.Tensor:
    norm, dense = keras.layers.LayerNormalization, keras.layers.Dense
    width = 2 * units
    x = x + _Places(width, name="places", dtype="float32")(z_mm)
    visible = _Visible(name="visible")(mask)
    for number in range(layers):
        attention = keras.layers.MultiHeadAttention(
            _HEADS, width // _HEADS, name=f"attention_{number}"
        )
        h = norm(name=f"norm_{number}a")(x)
        x = x + attention(h, h, attention_mask=visible)
        h = norm(name=f"norm_{number}b")(x)
        h = dense(2 * width, activation="gelu", name=f"wide_{number}")(h)
        h = SeededDropout(dropout, name=f"dropout_{number + 1}")(h)
        x = x + dense(width, name=f"narrow_{number}")(h)
    return norm(name="norm")(x)


_BODIES = {"bigru": _bigru, "transformer": _transformer}


class _Reverse(keras.layers.Layer):  # type: ignore[misc]
    """Reverses the slots of [b, slots, k]."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reverse(x, axis=[1])


class _Visible(keras.layers.Layer):  # type: ignore[misc]
    """Mask of slices, bool [b, slots] -> mask of attention, [b, slots, slots]."""

    def call(self, mask: tf.Tensor) -> tf.Tensor:
        # An empty slot attends to the slices, too: with nothing to attend to, softmax would be NaN.
        return tf.repeat(mask[:, None, :], tf.shape(mask)[1], axis=1)


class _Places(keras.layers.Layer):  # type: ignore[misc]
    """Positions in mm -> sines and cosines of wavelengths from 10 to 400 mm, [b, slots, width]."""

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self._frequencies = (2 * np.pi / np.geomspace(10, 400, width // 2)).astype(np.float32)

    def call(self, z_mm: tf.Tensor) -> tf.Tensor:
        angle = z_mm * self._frequencies
        return tf.concat([tf.sin(angle), tf.cos(angle)], axis=-1)


class _AttentionPooling(keras.layers.Layer):  # type: ignore[misc]
    """Mean over the slices with learned weights, [b, slots, k] -> [b, k]."""

    def build(self, shape: tf.TensorShape) -> None:
        self._score = self.add_weight(
            name="score", shape=(shape[-1], 1), initializer="glorot_uniform"
        )
        super().build(shape)

    def call(self, x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, tf.float32)
        score = tf.linalg.matvec(x, self._score[:, 0])
        weight = tf.nn.softmax(tf.where(mask, score, -1e9), axis=-1)
        return tf.einsum("bs,bsk->bk", weight, x)


class _Smoothing(keras.layers.Layer):  # type: ignore[misc]
    """Logits [b, slots, 6] -> logits of a weighted mean of the probabilities of nearby slices.

    The weight of a slice is learned for each class and distance, and is the same both ways.
    Distances are counted in slices, so that a gap changes nothing here.
    """

    def build(self, shape: tf.TensorShape) -> None:
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


class _Join(keras.layers.Layer):  # type: ignore[misc]
    """Logits of the series [b, 6], smoothed and added logits [b, slots, 6] -> [b, 1 + slots, 6]."""

    def build(self, shape: tf.TensorShape) -> None:
        self._scale = self.add_weight(name="scale", shape=(NUM_CLASSES,), initializer="ones")
        super().build(shape)

    def call(self, whole: tf.Tensor, logits: tf.Tensor, added: tf.Tensor) -> tf.Tensor:
        return tf.concat([whole[:, None], self._scale * logits + added], axis=1)
