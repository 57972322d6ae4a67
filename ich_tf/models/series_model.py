"""A model over the ordered slices of a series: features and logits in, better logits out.

A series is read as one tensor [slots, d + 8] (`pack`): features, logits of the slice model, place
along the normal, and a mask; slots after its last slice are empty. What comes out is
[1 + slots, 6]: the logits of the series, then those of its slices. The model starts as the slice
model smoothed along the series: a few hundred series, which is all that a hospital may have, would
not teach it so much. What it adds to these logits begins at 0.
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
# Place and mask.
_EXTRA = 2
# Distances between slices come in about this size.
_STEP_MM = 5.0
_HEADS = 4
# Slices either way that are smoothed over, and the standard deviation that it begins with.
_REACH = 4
_SMOOTHING = 1.5
# float32 holds 1 - 6e-8 at most.
_EPSILON = 1e-6


def packed_width(feature_dim: int) -> int:
    """Numbers a slot."""
    return feature_dim + NUM_CLASSES + _EXTRA


def pack(series: SeriesFeatures, slots: int) -> np.ndarray:
    """A series as the model reads it.

    Args:
      series: Of n slices.
      slots: n or more.

    Returns:
      float32 [slots, d + 8].
    """
    return pack_arrays(series.features, series.logits, series.z_mm, slots)


def pack_arrays(
    features: np.ndarray, logits: np.ndarray, z_mm: np.ndarray, slots: int
) -> np.ndarray:
    """`pack` of a series' features [n, d], logits [n, 6] and places [n], which rise."""
    number = len(features)
    if number > slots:
        raise ValueError(f"a series has {number} slices; there are {slots} slots.")
    packed = np.zeros((slots, packed_width(features.shape[1])), np.float32)
    # Counted from the first: float32 has no digits to spare for where a table stands.
    own = [features, logits, (z_mm - z_mm[0])[:, None], np.ones((number, 1))]
    packed[:number] = np.concatenate(own, axis=1)
    return packed


def turned_series(packed: np.ndarray, number: int) -> np.ndarray:
    """A packed series of so many slices, from its other end; places still rise."""
    found = packed.copy()
    found[:number] = packed[:number][::-1]
    found[:number, -2] = packed[number - 1, -2] - found[:number, -2]
    return found


def build_series_model(
    backbone: str,
    feature_dim: int,
    *,
    units: int = 64,
    layers: int = 2,
    dropout: float = 0.0,
    bias: np.ndarray | None = None,
) -> keras.Model:
    """Builds a sequence model.

    Args:
      backbone: `bigru` or `transformer`.
      feature_dim: d.
      units: Of each direction, or of a transformer's layer.
      layers: Of them.
      dropout: Share of what is dropped between layers.
      bias: float [6], a series' prior probability of each class, that its logits begin with.

    Returns:
      A model: float32 [b, slots, d + 8] -> float32 logits [b, 1 + slots, 6], whatever `slots` is.
      Empty slots have logits too, which mean nothing.
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
    """All that is needed to build a series model again and to feed it.

    Attributes:
      backbone: One of `config.SERIES_BACKBONES`.
      feature_dim: Numbers a slice.
      units, layers, dropout, reverse: As in `config.TrainConfig`.
      prior: Each class's share of positive slices in the training folds.
      networks: SHA-256 of the weights of each network whose features it reads; none for a model
        that was trained together with its network (`end_to_end`), as in the next three.
      network_dirs: Their runs' work dirs, relative to this one's.
      validation_folds: The fold that each of them did not train on.
      axes_sha256: Of `axes.npz`, which brings their features into one set of axes.
      classes: Of its logits, in order.
      kind: Tells it from a slice model's `checkpoints.ModelSpec`.
      version: `VERSION`.
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
        """Builds the model; `bias` as of `build_series_model`."""
        return build_series_model(
            self.backbone,
            self.feature_dim,
            units=self.units,
            layers=self.layers,
            dropout=self.dropout,
            bias=bias,
        )


class _Unpack(keras.layers.Layer):  # type: ignore[misc]
    """A packed series -> what each slice and its neighbours show, logits, mask, place.

    Beside its own features and logits a slice has their differences to those before and after it,
    and the steps between in mm; at the ends of the series both are 0.
    """

    def __init__(self, feature_dim: int, **kwargs: Any) -> None:
        super().__init__(trainable=False, autocast=False, **kwargs)
        self._own = feature_dim + NUM_CLASSES

    def call(self, packed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        own, z_mm, mask = tf.split(packed, [self._own, 1, 1], axis=-1)
        before, after = _shifted(mask, 1) * mask, _shifted(mask, -1) * mask
        context = [own]
        for offset, there in ((1, before), (-1, after)):
            context.append((own - _shifted(own, offset)) * there)
            context.append((z_mm - _shifted(z_mm, offset)) * there / _STEP_MM)
        inputs = tf.concat(context, axis=-1) * mask
        # Counted from the middle of the series, so that it does not matter where it lies in space.
        count = tf.maximum(tf.reduce_sum(mask, axis=1, keepdims=True), 1.0)
        middle = tf.reduce_sum(z_mm * mask, axis=1, keepdims=True) / count
        logits = own[..., self._own - NUM_CLASSES :]
        return inputs, logits, mask[..., 0] > 0, (z_mm - middle) * mask


def _shifted(values: tf.Tensor, offset: int) -> tf.Tensor:
    """[b, slots, k] moved along the slots by one; what comes in is 0."""
    nothing = tf.zeros_like(values[:, :1])
    if offset > 0:
        return tf.concat([nothing, values[:, :-1]], axis=1)
    return tf.concat([values[:, 1:], nothing], axis=1)


def _bigru(
    x: tf.Tensor, mask: tf.Tensor, z_mm: tf.Tensor, units: int, layers: int, dropout: float
) -> tf.Tensor:
    for number in range(layers):
        # Not Keras's Bidirectional: it would wrap variables whose names tell less.
        forward = keras.layers.GRU(units, return_sequences=True, name=f"forward_{number}")
        backward = keras.layers.GRU(
            units, return_sequences=True, go_backwards=True, name=f"backward_{number}"
        )
        there = forward(x, mask=mask)
        back = _Reverse(name=f"reverse_{number}")(backward(x, mask=mask))
        x = keras.layers.Concatenate(name=f"both_{number}")([there, back])
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
        own = norm(name=f"norm_{number}a")(x)
        x = x + attention(own, own, attention_mask=visible)
        own = norm(name=f"norm_{number}b")(x)
        own = dense(2 * width, activation="gelu", name=f"wide_{number}")(own)
        own = SeededDropout(dropout, name=f"dropout_{number + 1}")(own)
        x = x + dense(width, name=f"narrow_{number}")(own)
    return norm(name="norm")(x)


_BODIES = {"bigru": _bigru, "transformer": _transformer}


class _Reverse(keras.layers.Layer):  # type: ignore[misc]
    """[b, slots, k] from the last slot to the first."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reverse(x, axis=[1])


class _Visible(keras.layers.Layer):  # type: ignore[misc]
    """bool [b, slots] -> [b, slots, slots]: which slots may be attended to."""

    def call(self, mask: tf.Tensor) -> tf.Tensor:
        # An empty slot looks at the slices, too: at nothing, its softmax would be NaN.
        return tf.repeat(mask[:, None, :], tf.shape(mask)[1], axis=1)


class _Places(keras.layers.Layer):  # type: ignore[misc]
    """Places in mm -> sines and cosines of wavelengths from 10 to 400 mm, [b, slots, width]."""

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self._frequencies = (2 * np.pi / np.geomspace(10, 400, width // 2)).astype(np.float32)

    def call(self, z_mm: tf.Tensor) -> tf.Tensor:
        angle = z_mm * self._frequencies
        return tf.concat([tf.sin(angle), tf.cos(angle)], axis=-1)


class _AttentionPooling(keras.layers.Layer):  # type: ignore[misc]
    """[b, slots, k] -> [b, k], a mean over the slices whose weights are learned."""

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
    """Logits [b, slots, 6] -> those of a mean of probabilities over the slices beside each.

    How much a slice counts follows from how many slices away it is, is learned a class, and is the
    same both ways. Counted in slices, a gap changes nothing here.
    """

    def build(self, shape: tf.TensorShape) -> None:
        def gaussian(shape: Any, dtype: Any = None) -> tf.Tensor:
            return tf.constant(
                np.tile(-0.5 * (np.arange(shape[0]) / _SMOOTHING) ** 2, (shape[1], 1)).T, dtype
            )

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
    """Logits of the series [b, 6], of the smoothed slice model and what is added [b, slots, 6]."""

    def build(self, shape: tf.TensorShape) -> None:
        self._scale = self.add_weight(name="scale", shape=(NUM_CLASSES,), initializer="ones")
        super().build(shape)

    def call(self, whole: tf.Tensor, logits: tf.Tensor, added: tf.Tensor) -> tf.Tensor:
        return tf.concat([whole[:, None], self._scale * logits + added], axis=1)
