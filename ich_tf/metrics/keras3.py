"""The challenge's log loss as a metric for Keras 3, for `compile(metrics=...)`.

`ich_tf.metrics.WeightedLogLoss` is the class of this module if the project uses Keras 3. It
computes in float64, except on JAX, whose default is float32: there a probability is clipped to the
largest float32 below 1.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ich_tf.labels import WEIGHTS
from ich_tf.metrics.log_loss import EPSILON

_DTYPE = "float32" if keras.backend.backend() == "jax" else "float64"
_GREATEST = 1 - (EPSILON if _DTYPE == "float64" else 2.0**-24)


@keras.saving.register_keras_serializable(package="ich_tf")  # type: ignore[untyped-decorator]
def weighted_log_loss(y_true: Any, y_pred: Any) -> Any:
    """Computes the weighted log loss of each image, for `compile(metrics=[...])`.

    Keras takes the mean over images. Of labels between 0 and 1, as mixup makes them, it is the
    cross-entropy.

    Args:
      y_true: Labels [n, 6], in [0, 1], columns in the order of `labels.CLASSES`.
      y_pred: Probabilities [n, 6]; clipped to [1e-15, 1 - 1e-15].

    Returns:
      Loss in nats, float64 [n] (float32 on JAX).

    Raises:
      ValueError: If the shapes differ, or the last axis has not six classes.
    """
    truth, prob = ops.cast(y_true, _DTYPE), ops.cast(y_pred, _DTYPE)
    known = [(one, two) for one, two in zip(truth.shape, prob.shape, strict=False) if one and two]
    if (
        len(truth.shape) != len(prob.shape)
        or any(one != two for one, two in known)
        or (prob.shape[-1] not in (None, len(WEIGHTS)))
    ):
        raise ValueError(f"y_true has shape {truth.shape}, y_pred {prob.shape}; expected (n, 6).")
    prob = ops.clip(prob, EPSILON, _GREATEST)
    loss = -(truth * ops.log(prob) + (1 - truth) * ops.log(1 - prob))
    weights = ops.convert_to_tensor([weight / sum(WEIGHTS) for weight in WEIGHTS], _DTYPE)
    return ops.sum(loss * weights, axis=-1)


@keras.saving.register_keras_serializable(package="ich_tf")
class WeightedLogLoss(keras.metrics.Metric):  # type: ignore[misc]
    """`metrics.weighted_log_loss` as a streaming Keras metric.

    Accumulates a sum and a count, so that the result is that of all examples at once, whatever the
    sizes of the batches.

    Attributes:
      from_logits: Whether `y_pred` holds logits, not probabilities.
    """

    def __init__(
        self, from_logits: bool = False, name: str = "weighted_log_loss", **kwargs: Any
    ) -> None:
        kwargs.pop("dtype", None)  # part of a saved config
        super().__init__(name=name, dtype=_DTYPE, **kwargs)
        self.from_logits = from_logits
        self.total = self.add_variable((), "zeros", dtype=_DTYPE, name="total")
        self.count = self.add_variable((), "zeros", dtype=_DTYPE, name="count")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch to the sums.

        Args:
          y_true: Labels [n, 6], in [0, 1].
          y_pred: Probabilities [n, 6], or logits if `from_logits`.
          sample_weight: Weights [n], for example 0 for padding; None for equal weights.
        """
        prob = ops.cast(y_pred, _DTYPE)
        per_image = weighted_log_loss(y_true, ops.sigmoid(prob) if self.from_logits else prob)
        if sample_weight is None:
            sample_weight = ops.ones_like(per_image)
        sample_weight = ops.reshape(ops.cast(sample_weight, _DTYPE), ops.shape(per_image))
        self.total.assign_add(ops.sum(per_image * sample_weight))
        self.count.assign_add(ops.sum(sample_weight))

    def result(self) -> Any:
        """Loss of the batches so far, []; 0 before the first batch."""
        return ops.divide_no_nan(self.total, self.count)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, for Keras to save."""
        return {**super().get_config(), "from_logits": self.from_logits}
