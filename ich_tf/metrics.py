"""The weighted multi-label log loss of the RSNA 2019 challenge, for any project to import.

`weighted_log_loss` and `per_class_log_loss` are NumPy in float64. `WeightedLogLoss` is the
same number as a streaming Keras metric; TensorFlow loads when it is first asked for.

Columns are always in the order of `ich_tf.labels.CLASSES`: epidural, intraparenchymal,
intraventricular, subarachnoid, subdural, any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.labels import CLASSES, WEIGHTS

if TYPE_CHECKING:
    import tensorflow as tf

# The challenge's clip. In float32 1 - 1e-15 is 1, so every computation here is in float64.
EPSILON = 1e-15


def weighted_log_loss(
    y_true: ArrayLike, y_prob: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Mean over images of sum_c w_c * logloss_c / sum_c w_c; `any` weighs 2, the rest 1.

    Equals scikit-learn's `log_loss` over all (image, class pairs with the class weights as
    `sample_weight`.

    Args:
      y_true: [n, 6], 0 or 1, columns in the order of `labels.CLASSES`.
      y_prob: [n, 6] in [0, 1]; clipped to [1e-15, 1 - 1e-15].
      sample_weight: [n] of 0 or more, a weight for each image; None counts all alike.

    Returns:
      The loss in nats.

    Raises:
      ValueError: If shapes differ, there is no image, or a value is NaN or out of range.
    """
    truth, prob = _checked(y_true, y_prob)
    per_image = _log_loss(truth, prob) @ np.asarray(WEIGHTS) / sum(WEIGHTS)
    if sample_weight is None:
        return float(per_image.mean())
    weight = np.asarray(sample_weight, np.float64)
    if weight.shape != per_image.shape:
        raise ValueError(
            f"sample_weight has shape {weight.shape}; {len(per_image)} images need "
            f"({len(per_image)},)."
        )
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
        raise ValueError("sample_weight must be finite, 0 or more, and not all 0.")
    return float(per_image @ weight / weight.sum())


def per_class_log_loss(y_true: ArrayLike, y_prob: ArrayLike) -> np.ndarray:
    """The unweighted log loss of each class, float64 [6], in the order of `labels.CLASSES`.

    Arguments and errors as `weighted_log_loss`.
    """
    truth, prob = _checked(y_true, y_prob)
    per_class: np.ndarray = _log_loss(truth, prob).mean(axis=0)
    return per_class


def constant_predictor(y_true: ArrayLike) -> np.ndarray:
    """The best constant prediction for these labels: each class's prevalence, float64 [6].

    Predicted for the labels themselves (`np.broadcast_to(p, y_true.shape)`) it scores the
    least that any constant can: 0.2311 on the challenge's stage-2 training set.

    Raises:
      ValueError: As `weighted_log_loss`.
    """
    truth = _checked_labels(y_true)
    prevalence: np.ndarray = truth.mean(axis=0)
    return prevalence


def sigmoid(logits: ArrayLike) -> np.ndarray:
    """Logits -> probabilities in float64, without overflow."""
    values = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + small), small / (1 + small))


def _log_loss(truth: np.ndarray, prob: np.ndarray) -> np.ndarray:
    prob = np.clip(prob, EPSILON, 1 - EPSILON)
    # log(1 - p), not log1p(-p): the challenge's, and scikit-learn's, rounding at the clip.
    return -np.where(truth > 0, np.log(prob), np.log(1 - prob))


def _checked_labels(y_true: ArrayLike) -> np.ndarray:
    truth = np.asarray(y_true, np.float64)
    if truth.ndim != 2 or truth.shape[1] != len(CLASSES):
        raise ValueError(
            f"y_true has shape {truth.shape}; expected (images, {len(CLASSES)}), columns "
            f"{', '.join(CLASSES)}."
        )
    if not len(truth):
        raise ValueError("y_true has no images; the mean over none is not defined.")
    if not np.isin(truth, (0.0, 1.0)).all():
        raise ValueError("y_true has values other than 0 and 1.")
    return truth


def _checked(y_true: ArrayLike, y_prob: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    truth = _checked_labels(y_true)
    prob = np.asarray(y_prob, np.float64)
    if prob.shape != truth.shape:
        raise ValueError(f"y_prob has shape {prob.shape}; y_true has {truth.shape}.")
    if np.isnan(prob).any():
        raise ValueError(f"y_prob has {int(np.isnan(prob).sum())} NaN values.")
    if prob.min() < 0 or prob.max() > 1:
        raise ValueError(
            f"y_prob spans [{prob.min():g}, {prob.max():g}]; probabilities lie in [0, 1]. "
            "Pass logits through `sigmoid` first."
        )
    return truth, prob


def _define_weighted_log_loss() -> type:
    import tensorflow as tf

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

    WeightedLogLoss.__qualname__ = "WeightedLogLoss"
    return WeightedLogLoss


def __getattr__(name: str) -> Any:
    if name != "WeightedLogLoss":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, _define_weighted_log_loss())
