"""Logits of an exam pooled from those of its slices, whatever their number and order.

The logits of a slice are the slice model's, plus a linear map of its features that begins at 0, so
that features of a network that rests can still learn. An exam's logits follow from them by one of
`architectures.POOLS`. Labels of exams alone then teach the slices, too: what the pool takes from a
slice is that slice's share of the exam's loss.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ich_tf.models.architectures import ATTENTION, LSE, MAX, NOISY_OR, POOLS
from ich_tf.models.dropout import SeededDropout
from ich_tf.models.label_smoothing import SmoothLogits, UndoLabelSmoothing
from ich_tf.models.series_layers import NUM_CLASSES
from ich_tf.runtime.keras2 import keras

# Factor of the logits in a log-sum-exp: of 35 slices the one with a bleed counts for its logit less
# log(35) / 4 = 0.9.
_SHARPNESS = 4.0
# In place of logits and scores of empty slots; finite, because a batch may have empty series.
_NONE = -1e9
# Below it float32 has no logarithm of a sum of probabilities.
_LEAST_SUM = 1e-30
_registered = keras.saving.register_keras_serializable(package="ich_tf")


def build_pool(
    pool: str,
    feature_dim: int,
    *,
    units: int = 64,
    dropout: float = 0.0,
    label_smoothing: float = 0.0,
) -> keras.Model:
    """Builds a model that pools the slices of a series.

    Args:
      pool: One of `architectures.POOLS`.
      feature_dim: Number of features of a slice, d.
      units: Width of the gated attention; the other pools have none.
      dropout: Share of the features dropped, in [0, 1).
      label_smoothing: Label smoothing of the training, in [0, 1), which the logits outside of
        training are free of.

    Returns:
      A model as of `series_model.build_series_model`: packed series, float32 [b, slots, d + 8] ->
      float32 logits [b, 1 + slots, 6], those of the exam and then those of its slices.
    """
    packed = keras.Input((None, feature_dim + NUM_CLASSES + 2), name="series")
    features, logits, mask = SplitSlots(feature_dim, name="split", dtype="float32")(packed)
    features = SeededDropout(dropout, name="dropout_0", dtype="float32")(features)
    added = keras.layers.Dense(
        NUM_CLASSES, kernel_initializer="zeros", dtype="float32", name="slices"
    )(features)
    if label_smoothing:
        logits = SmoothLogits(label_smoothing, name="smooth_logits", dtype="float32")(logits)
    slices = keras.layers.Add(name="instances", dtype="float32")([logits, added])
    layer = ExamPooling(pool, units, name="pool", dtype="float32")
    outputs = layer([slices, features, mask])
    if label_smoothing:
        layer = UndoLabelSmoothing(label_smoothing, name="label_smoothing", dtype="float32")
        outputs = layer(outputs)
    return keras.Model(packed, outputs, name=f"ich_{pool}")


@_registered
class SplitSlots(keras.layers.Layer):  # type: ignore[misc]
    """Packed series [b, slots, d + 8] -> features, logits, and the mask as bool [b, slots].

    Values in empty slots become 0.
    """

    def __init__(self, feature_dim: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.feature_dim = feature_dim

    def call(self, packed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Takes the series apart."""
        mask = packed[..., -1:] > 0
        values = tf.where(mask, packed[..., :-2], 0.0)
        features, logits = tf.split(values, [self.feature_dim, NUM_CLASSES], axis=-1)
        return features, logits, mask[..., 0]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "feature_dim": self.feature_dim}


@_registered
class ExamPooling(keras.layers.Layer):  # type: ignore[misc]
    """Logits, features and mask of slices -> logits of the exam and of the slices.

    In place of empty slots' logits it has -1e9 (`is_slice`).

    With `attention` the exam's logit of a class is the mean of the slices' with weights that are
    the softmax over the slices of w . (tanh(V f) * sigmoid(U f)), where f are a slice's features
    and w is the class's own (Ilse et al. 2018, arXiv:1802.04712). All pools but `noisy_or`, whose
    sum is of probabilities, add a bias that is learned.
    """

    def __init__(self, pool: str, units: int, **kwargs: Any) -> None:
        if pool not in POOLS:
            raise ValueError(f"pool is {pool!r}; expected one of {', '.join(POOLS)}.")
        super().__init__(autocast=False, **kwargs)
        self.pool, self.units = pool, units

    def build(self, shapes: list[tf.TensorShape]) -> None:
        """Makes the weights."""
        width = shapes[1][-1]
        if self.pool == ATTENTION:
            self._value = self.add_weight(
                name="value", shape=(width, self.units), initializer="glorot_uniform"
            )
            self._gate = self.add_weight(
                name="gate", shape=(width, self.units), initializer="glorot_uniform"
            )
            self._score = self.add_weight(
                name="score", shape=(self.units, NUM_CLASSES), initializer="glorot_uniform"
            )
        if self.pool != NOISY_OR:
            self._bias = self.add_weight(name="bias", shape=(NUM_CLASSES,), initializer="zeros")
        super().build(shapes)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Pools [b, slots, 6]; the result is float32 [b, 1 + slots, 6]."""
        logits, features, mask = inputs
        present = mask[..., None]
        if self.pool == NOISY_OR:
            exam = noisy_or(logits, present)
        elif self.pool == ATTENTION:
            exam = weighted_mean(logits, self.attention(features), present) + self._bias
        else:
            pool = {MAX: greatest, LSE: log_mean_exp}[self.pool]
            exam = pool(logits, present) + self._bias
        return tf.concat([exam[:, None], tf.where(present, logits, _NONE)], axis=1)

    def attention(self, features: tf.Tensor) -> tf.Tensor:
        """Scores of slices before the softmax, [b, slots, 6]."""
        hidden = tf.tanh(features @ self._value) * tf.sigmoid(features @ self._gate)
        return hidden @ self._score

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "pool": self.pool, "units": self.units}


def weighted_mean(logits: tf.Tensor, scores: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Mean over the slices with the softmax of scores as weights.

    Args:
      logits: float32 [b, slots, 6].
      scores: float32 [b, slots, 6].
      present: Whether a slot holds a slice, bool [b, slots, 1].

    Returns:
      float32 [b, 6].
    """
    weights = tf.nn.softmax(tf.where(present, scores, _NONE), axis=1)
    return tf.reduce_sum(weights * logits, axis=1)


def greatest(logits: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Greatest logit of the slices, [b, 6]; the arguments are those of `weighted_mean`."""
    return tf.reduce_max(tf.where(present, logits, _NONE), axis=1)


def log_mean_exp(logits: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """A smooth maximum, log(mean(exp(r x))) / r with r = 4, as `greatest`."""
    count = tf.reduce_sum(tf.cast(present, tf.float32), axis=1)
    total = tf.reduce_logsumexp(tf.where(present, _SHARPNESS * logits, _NONE), axis=1)
    return (total - tf.math.log(tf.maximum(count, 1.0))) / _SHARPNESS


def noisy_or(logits: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Logit of 1 - prod(1 - p), that any slice is positive if they were independent.

    Args:
      logits: float32 [b, slots, 6].
      present: Whether a slot holds a slice, bool [b, slots, 1].

    Returns:
      float32 [b, 6].

    Examples:
      >>> logits = tf.fill([1, 2, 6], 0.0)
      >>> float(tf.sigmoid(noisy_or(logits, tf.fill([1, 2, 1], True)))[0, 0])
      0.75
    """
    # -log(1 - p) of each slice; their sum s is that of the exam, whose logit is log(exp(s) - 1).
    total = tf.reduce_sum(tf.where(present, tf.math.softplus(logits), 0.0), axis=1)
    total = tf.maximum(total, _LEAST_SUM)
    # Two forms, since exp(s) overflows where s is large, and 1 - exp(-s) has no digits where it is
    # small; each is computed where it holds, so that no gradient is infinite.
    is_large = total > 1
    small, large = tf.minimum(total, 1.0), tf.maximum(total, 1.0)
    return tf.where(
        is_large, large + tf.math.log1p(-tf.exp(-large)), tf.math.log(tf.math.expm1(small))
    )


def is_slice(logits: tf.Tensor) -> tf.Tensor:
    """Whether slots hold slices, bool [b, slots, 1], by their logits [b, slots, 6] of a pool."""
    return logits[..., :1] > _NONE / 2


def initial_prior(pool: str, prior: Any, num_slices: float) -> Any:
    """Probability of a slice with which a pool over equal slices begins at an exam's prior.

    Args:
      pool: One of `architectures.POOLS`.
      prior: Prior probability of an exam, in [0, 1), a number or an array.
      num_slices: Number of slices of an exam.

    Examples:
      >>> initial_prior("noisy_or", 0.75, 2), initial_prior("max", 0.75, 2)
      (0.5, 0.75)
    """
    return 1 - (1 - prior) ** (1 / num_slices) if pool == NOISY_OR else prior
