"""The challenge's loss as a streaming Keras metric. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ich_tf.labels import WEIGHTS
from ich_tf.metrics.log_loss import EPSILON


class WeightedLogLoss(tf.keras.metrics.Metric):  # type: ignore[misc]
    """`weighted_log_loss` as a streaming Keras metric.

    Accumulates a sum and a count in float64, so that batches of any sizes give the
    value of all examples at once. Under a `tf.distribute` strategy the replicas' sums
    add up.

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
        truth = tf.cast(y_true, tf.float64)
        prob = tf.cast(y_pred, tf.float64)
        if self.from_logits:
            prob = tf.sigmoid(prob)
        prob = tf.clip_by_value(prob, EPSILON, 1 - EPSILON)
        loss = -tf.where(truth > 0, tf.math.log(prob), tf.math.log(1 - prob))
        weights = tf.constant(WEIGHTS, tf.float64) / sum(WEIGHTS)
        per_image = tf.linalg.matvec(loss, weights)
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
