"""The challenge's log loss as a metric for Keras 2, for `compile(metrics=...)`.

Imports TensorFlow. `ich_tf.metrics.WeightedLogLoss` is the class of this module if the project
uses Keras 2.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ich_tf.labels import WEIGHTS
from ich_tf.metrics.log_loss import EPSILON
from ich_tf.runtime.keras2 import keras


@keras.utils.register_keras_serializable(package="ich_tf")  # type: ignore[untyped-decorator]
def weighted_log_loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Computes the weighted log loss of each image, for `compile(metrics=[...])`.

    Keras takes the mean over images. Computed in float64, as by the challenge. Of labels between 0
    and 1, as mixup makes them, it is the cross-entropy.

    Args:
      y_true: Labels [n, 6], in [0, 1], columns in the order of `labels.CLASSES`.
      y_pred: Probabilities [n, 6]; clipped to [1e-15, 1 - 1e-15].

    Returns:
      Loss in nats, float64 [n].

    Raises:
      ValueError: If the shapes differ, or the last axis has not six classes.
    """
    truth, prob = tf.cast(y_true, tf.float64), tf.cast(y_pred, tf.float64)
    if not (truth.shape.is_compatible_with(prob.shape) and prob.shape[-1:].is_compatible_with([6])):
        raise ValueError(f"y_true has shape {truth.shape}, y_pred {prob.shape}; expected (n, 6).")
    prob = tf.clip_by_value(prob, EPSILON, 1 - EPSILON)
    loss = -(truth * tf.math.log(prob) + (1 - truth) * tf.math.log(1 - prob))
    return tf.linalg.matvec(loss, tf.constant(WEIGHTS, tf.float64) / sum(WEIGHTS))


@keras.utils.register_keras_serializable(package="ich_tf")
class WeightedLogLoss(keras.metrics.Metric):  # type: ignore[misc]
    """`metrics.weighted_log_loss` as a streaming Keras metric.

    Accumulates a sum and a count in float64, so that the result is that of all examples at once,
    whatever the sizes of the batches. A `tf.distribute` strategy adds up the replicas' sums.

    Attributes:
      from_logits: Whether `y_pred` holds logits, not probabilities.
    """

    def __init__(
        self, from_logits: bool = False, name: str = "weighted_log_loss", **kwargs: Any
    ) -> None:
        kwargs.pop("dtype", None)  # part of a saved config; the state is always float64
        super().__init__(name=name, dtype="float64", **kwargs)
        self.from_logits = from_logits
        self.total = self.add_weight(name="total", initializer="zeros", dtype="float64")
        self.count = self.add_weight(name="count", initializer="zeros", dtype="float64")

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        """Adds a batch to the sums.

        Args:
          y_true: Labels [n, 6], in [0, 1].
          y_pred: Probabilities [n, 6], or logits if `from_logits`.
          sample_weight: Weights [n], for example 0 for padding; None for equal weights.
        """
        prob = tf.cast(y_pred, tf.float64)
        per_image = weighted_log_loss(y_true, tf.sigmoid(prob) if self.from_logits else prob)
        if sample_weight is None:
            sample_weight = tf.ones_like(per_image)
        sample_weight = tf.reshape(tf.cast(sample_weight, tf.float64), tf.shape(per_image))
        self.total.assign_add(tf.reduce_sum(per_image * sample_weight))
        self.count.assign_add(tf.reduce_sum(sample_weight))

    def result(self) -> tf.Tensor:
        """Loss of the batches so far, float64 []; 0 before the first batch."""
        return tf.math.divide_no_nan(self.total, self.count)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, for Keras to save."""
        return {**super().get_config(), "from_logits": self.from_logits}
