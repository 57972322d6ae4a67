"""A model over the ordered slices of a series: features and logits in, better logits out.

A series is read as one tensor [slots, d + 8] (`pack`): features, logits of the slice model,
position along the normal, and a mask; slots after the last slice are empty. The output is
[1 + slots, 6]: the logits of the series as a whole, then those of its slices. The model starts as
the slice model smoothed along the series, because a few hundred series, which is all that a
hospital may have, would not teach it so much. The logits that it adds begin at 0.

A pool (`pooling`) takes the logits of the series from those of its slices instead, and does not see
their order.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from ich_tf.labels import CLASSES
from ich_tf.models.architectures import POOLS, SERIES_BACKBONES
from ich_tf.models.dropout import SeededDropout
from ich_tf.models.label_smoothing import SmoothLogits, UndoLabelSmoothing, smooth_labels
from ich_tf.models.pooling import build_pool
from ich_tf.models.series_layers import (
    NUM_CLASSES,
    AttentionPooling,
    Join,
    ReverseSlots,
    SeriesContext,
    SlicePositions,
    SlotAttentionMask,
    Smoothing,
)
from ich_tf.models.spec_limits import (
    check_places,
    check_prior,
    check_series_size,
    check_share,
)
from ich_tf.records.series_features import SeriesFeatures
from ich_tf.runtime.keras2 import keras

VERSION = 2
# Position and mask of a slot.
_EXTRA = 2
_HEADS = 4


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
    label_smoothing: float = 0.0,
) -> keras.Model:
    """Builds a model over the slices of a series.

    Args:
      backbone: `bigru`, `transformer` or one of `architectures.POOLS`.
      feature_dim: Number of features of a slice, d.
      units: Width of each direction of a bigru, half the width of a transformer's layer, width of
        an attention.
      layers: Number of layers; a pool has none.
      dropout: Share of the activations dropped between layers, or before a pool, in [0, 1).
      bias: Prior probability of each class for a series as a whole, with whose logits training
        starts, float [6]; None starts at 0.5. A pool starts with what its slices' logits give.
      label_smoothing: Label smoothing of the training, in [0, 1), which the logits outside of
        training are free of (`label_smoothing`).

    Returns:
      A model: float32 [b, slots, d + 8] -> float32 logits [b, 1 + slots, 6], for any number of
      slots. Logits of empty slots mean nothing.
    """
    if backbone not in SERIES_BACKBONES:
        expected = ", ".join(SERIES_BACKBONES)
        raise ValueError(f"backbone is {backbone!r}; expected one of {expected}.")
    if backbone in POOLS:
        return build_pool(
            backbone, feature_dim, units=units, dropout=dropout, label_smoothing=label_smoothing
        )
    dense = keras.layers.Dense
    packed = keras.Input((None, packed_width(feature_dim)), name="series")
    inputs, logits, mask, z_mm = SeriesContext(feature_dim, name="context", dtype="float32")(packed)
    x = dense(2 * units, activation="relu", name="project")(inputs)
    x = SeededDropout(dropout, name="dropout_0")(x)
    x = _BODIES[backbone](x, mask, z_mm, units, layers, dropout)
    # Zero at first: training starts from the smoothed slice model's loss.
    added = dense(NUM_CLASSES, kernel_initializer="zeros", dtype="float32", name="slices")(x)
    pooled = AttentionPooling(name="pool", dtype="float32")(x, mask)
    prior = np.clip(np.full(NUM_CLASSES, 0.5) if bias is None else bias, 1e-4, 1 - 1e-4)
    prior = smooth_labels(prior, label_smoothing)
    whole = dense(
        NUM_CLASSES,
        bias_initializer=keras.initializers.Constant(np.log(prior / (1 - prior)).tolist()),
        dtype="float32",
        name="whole",
    )(pooled)
    smoothed = Smoothing(name="smoothing", dtype="float32")(logits, mask)
    if label_smoothing:
        smoothed = SmoothLogits(label_smoothing, name="smooth_logits", dtype="float32")(smoothed)
    outputs = Join(name="logits", dtype="float32")([whole, smoothed, added])
    if label_smoothing:
        layer = UndoLabelSmoothing(label_smoothing, name="label_smoothing", dtype="float32")
        outputs = layer(outputs)
    return keras.Model(packed, outputs, name=f"ich_{backbone}")


@dataclasses.dataclass(frozen=True)
class SeriesSpec:
    """Description of a series model, from which it is built again and fed.

    Attributes:
      backbone: Name of the model, one of `architectures.SERIES_BACKBONES`.
      feature_dim: Number of features of a slice.
      units, layers, dropout, label_smoothing: Arguments of `build_series_model`.
      reverse: Whether a prediction is the mean over both directions of the series.
      prior: Share of positive slices of each class in the training folds.
      networks: SHA-256 of the weights of each network whose features the model reads; empty, as are
        the next three, for a model that was trained together with its network (`end_to_end`).
      network_dirs: Work dirs of these networks' runs, relative to this run's.
      validation_folds: Fold that each network did not train on; -1 for one that was trained on
        other data.
      axes_sha256: SHA-256 of `axes.npz`, which brings the features into one set of axes.
      weakly_supervised: Whether labels of exams alone taught the slices' logits: no slice was
        labelled. Left out of model.json where it is False.
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
    label_smoothing: float = 0.0
    weakly_supervised: bool = False
    classes: tuple[str, ...] = CLASSES
    kind: str = "series"
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"version is {self.version}; this version reads {VERSION}")
        if tuple(self.classes) != CLASSES:
            raise ValueError(f"classes are {', '.join(self.classes)}; expected {CLASSES}")
        check_prior(self.prior, len(CLASSES))
        if self.backbone not in SERIES_BACKBONES:
            raise ValueError(f"backbone is {self.backbone!r}; expected one of {SERIES_BACKBONES}")
        check_series_size(self.feature_dim, self.units, self.layers)
        for name in ("dropout", "label_smoothing"):
            check_share(name, getattr(self, name))
        check_places("network_dirs", self.network_dirs)
        check_places("networks", self.networks)

    def build(self, bias: np.ndarray | None = None) -> keras.Model:
        """Builds the model; `bias` is that of `build_series_model`."""
        return build_series_model(
            self.backbone,
            self.feature_dim,
            units=self.units,
            layers=self.layers,
            dropout=self.dropout,
            bias=bias,
            label_smoothing=self.label_smoothing,
        )


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
        falling = ReverseSlots(name=f"reverse_{number}")(backward(x, mask=mask))
        x = keras.layers.Concatenate(name=f"both_{number}")([rising, falling])
        x = SeededDropout(dropout, name=f"dropout_{number + 1}")(x)
    return x


def _transformer(
    x: tf.Tensor, mask: tf.Tensor, z_mm: tf.Tensor, units: int, layers: int, dropout: float
) -> tf.Tensor:
    dense = keras.layers.Dense
    # Statistics of a layer in float32: in half precision its epsilon is below what squares hold.
    norm = functools.partial(keras.layers.LayerNormalization, dtype="float32")
    # Unlike `+`, which takes no sum of two precisions.
    add = keras.layers.Add
    width = 2 * units
    places = SlicePositions(width, name="places", dtype="float32")(z_mm)
    x = add(name="with_places")([x, places])
    visible = SlotAttentionMask(name="visible")(mask)
    for number in range(layers):
        attention = keras.layers.MultiHeadAttention(
            _HEADS, width // _HEADS, name=f"attention_{number}"
        )
        h = norm(name=f"norm_{number}a")(x)
        x = add(name=f"attended_{number}")([x, attention(h, h, attention_mask=visible)])
        h = norm(name=f"norm_{number}b")(x)
        h = dense(2 * width, activation="gelu", name=f"wide_{number}")(h)
        h = SeededDropout(dropout, name=f"dropout_{number + 1}")(h)
        x = add(name=f"added_{number}")([x, dense(width, name=f"narrow_{number}")(h)])
    return norm(name="norm")(x)


_BODIES = {"bigru": _bigru, "transformer": _transformer}
