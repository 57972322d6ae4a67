"""The challenge's loss for Keras 2 (tf.keras up to TensorFlow 2.15, or tf-keras).

Imports TensorFlow. `ich_tf.metrics.WeightedLogLoss` is this one where a project's Keras is Keras 2.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ich_tf.labels import WEIGHTS
from ich_tf.metrics.log_loss import EPSILON
from ich_tf.runtime.keras2 import keras


def weighted_log_loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Each image's part of `metrics.weighted_log_loss`, for `compile(metrics=[...])`.

    Keras takes the mean over images. In float64, as the challenge does.

    Args:
      y_true: [n, 6], 0 or 1, columns in the order of `labels.CLASSES`.
      y_pred: [n, 6] probabilities; clipped to [1e-15, 1 - 1e-15].

    Returns:
      float64 [n], in nats.
    """
    truth = tf.cast(y_true, tf.float64)
    prob = tf.clip_by_value(tf.cast(y_pred, tf.float64), EPSILON, 1 - EPSILON)
    loss = -tf.where(truth > 0, tf.math.log(prob), tf.math.log(1 - prob))
    return tf.linalg.matvec(loss, tf.constant(WEIGHTS, tf.float64) / sum(WEIGHTS))


@keras.utils.register_keras_serializable(package="ich_tf")
class WeightedLogLoss(keras.metrics.Metric):  # type: ignore[misc]
    """`metrics.weighted_log_loss` as a streaming metric.

    Accumulates a sum and a count in float64, so that batches of any sizes give the value of all
    examples at once. Under a `tf.distribute` strategy the replicas' sums add up.

    Attributes:
      from_logits: Whether `y_pred` holds logits, not probabilities.
    """

    def __init__(
        self, from_logits: bool = False, name: str = "weighted_log_loss", **kwargs: Any
    ) -> None:
        kwargs.pop("dtype", None)  # of a saved config: the state is float64 always
        super().__init__(name=name, dtype="float64", **kwargs)
        self.from_logits = from_logits
        self.total = self.add_weight(name="total", initializer="zeros", dtype="float64")
        self.count = self.add_weight(name="count", initializer="zeros", dtype="float64")

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        """Adds a batch.

        Args:
          y_true: [n, 6], 0 or 1.
          y_pred: [n, 6] probabilities, or logits if `from_logits`.
          sample_weight: [n], for example 0 for padding; None counts all alike.
        """
        prob = tf.cast(y_pred, tf.float64)
        per_image = weighted_log_loss(y_true, tf.sigmoid(prob) if self.from_logits else prob)
        if sample_weight is None:
            sample_weight = tf.ones_like(per_image)
        sample_weight = tf.reshape(tf.cast(sample_weight, tf.float64), tf.shape(per_image))
        self.total.assign_add(tf.reduce_sum(per_image * sample_weight))
        self.count.assign_add(tf.reduce_sum(sample_weight))

    def result(self) -> tf.Tensor:
        """The loss so far, float64 []; 0 before the first batch."""
        return tf.math.divide_no_nan(self.total, self.count)

    def get_config(self) -> dict[str, Any]:
        """Keras's config."""
        return {**super().get_config(), "from_logits": self.from_logits}
