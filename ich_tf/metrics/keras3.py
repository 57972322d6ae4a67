"""The challenge's loss for Keras 3, on any of its backends; TensorFlow is not needed.

`ich_tf.metrics.WeightedLogLoss` is this one where a project's Keras is Keras 3. In float64, but on
JAX, which has float32 unless told otherwise: there a probability is clipped to what float32 can
tell from 1.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ich_tf.labels import WEIGHTS
from ich_tf.metrics.log_loss import EPSILON

_DTYPE = "float32" if keras.backend.backend() == "jax" else "float64"
_GREATEST = 1 - (EPSILON if _DTYPE == "float64" else 2.0**-24)


def weighted_log_loss(y_true: Any, y_pred: Any) -> Any:
    """Each image's part of `metrics.weighted_log_loss`, for `compile(metrics=[...])`.

    Keras takes the mean over images.

    Args:
      y_true: [n, 6], 0 or 1, columns in the order of `labels.CLASSES`.
      y_pred: [n, 6] probabilities; clipped to [1e-15, 1 - 1e-15].

    Returns:
      float64 [n] (float32 on JAX), in nats.
    """
    truth = ops.cast(y_true, _DTYPE)
    prob = ops.clip(ops.cast(y_pred, _DTYPE), EPSILON, _GREATEST)
    loss = -ops.where(truth > 0, ops.log(prob), ops.log(1 - prob))
    weights = ops.convert_to_tensor([one / sum(WEIGHTS) for one in WEIGHTS], _DTYPE)
    return ops.sum(loss * weights, axis=-1)


@keras.saving.register_keras_serializable(package="ich_tf")
class WeightedLogLoss(keras.metrics.Metric):  # type: ignore[misc]
    """`metrics.weighted_log_loss` as a streaming metric.

    Accumulates a sum and a count, so that batches of any sizes give the value of all examples at
    once.

    Attributes:
      from_logits: Whether `y_pred` holds logits, not probabilities.
    """

    def __init__(
        self, from_logits: bool = False, name: str = "weighted_log_loss", **kwargs: Any
    ) -> None:
        kwargs.pop("dtype", None)  # of a saved config
        super().__init__(name=name, dtype=_DTYPE, **kwargs)
        self.from_logits = from_logits
        self.total = self.add_variable((), "zeros", dtype=_DTYPE, name="total")
        self.count = self.add_variable((), "zeros", dtype=_DTYPE, name="count")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
          y_true: [n, 6], 0 or 1.
          y_pred: [n, 6] probabilities, or logits if `from_logits`.
          sample_weight: [n], for example 0 for padding; None counts all alike.
        """
        prob = ops.cast(y_pred, _DTYPE)
        per_image = weighted_log_loss(y_true, ops.sigmoid(prob) if self.from_logits else prob)
        if sample_weight is None:
            sample_weight = ops.ones_like(per_image)
        sample_weight = ops.reshape(ops.cast(sample_weight, _DTYPE), ops.shape(per_image))
        self.total.assign_add(ops.sum(per_image * sample_weight))
        self.count.assign_add(ops.sum(sample_weight))

    def result(self) -> Any:
        """The loss so far, []; 0 before the first batch."""
        return ops.divide_no_nan(self.total, self.count)

    def get_config(self) -> dict[str, Any]:
        """Keras's config."""
        return {**super().get_config(), "from_logits": self.from_logits}
