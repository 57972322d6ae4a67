"""The weighted multi-label log loss of the RSNA 2019 challenge, in float64."""

from __future__ import annotations

from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.labels import CLASSES, WEIGHTS
from ich_tf.metrics.binary import check_no_nan, check_range, check_weights, scalar

# The challenge clips to this. In float32 1 - 1e-15 is 1, so every computation is in float64.
EPSILON = 1e-15


@overload
def weighted_log_loss(
    y_true: ArrayLike, y_prob: ArrayLike, sample_weight: None = None
) -> float: ...


@overload
def weighted_log_loss(
    y_true: ArrayLike, y_prob: ArrayLike, sample_weight: ArrayLike
) -> np.ndarray | float: ...


def weighted_log_loss(
    y_true: ArrayLike, y_prob: ArrayLike, sample_weight: ArrayLike | None = None
) -> np.ndarray | float:
    """Computes the challenge's loss: the log loss, weighted by class, averaged over images.

    The loss of an image is sum_c w_c * logloss_c / sum_c w_c, with weight 2 for `any` and 1 for the
    other classes. The result is that of scikit-learn's `log_loss` over all (image, class) pairs
    with the class weights as `sample_weight`.

    Args:
      y_true: Labels [n, 6], 0 or 1, columns in the order of `labels.CLASSES`.
      y_prob: Probabilities [n, 6], in [0, 1]; clipped to [1e-15, 1 - 1e-15].
      sample_weight: Weights of the images, 0 or more: [n], or [..., n] for a loss of each row, as
        of a bootstrap. None for equal weights.

    Returns:
      The loss in nats, a float, or float64 [...].

    Raises:
      ValueError: If shapes differ, there is no image, or a value is NaN or out of range.

    Examples:
      >>> y_true = [[0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]
      >>> y_prob = [[0.01, 0.8, 0.05, 0.02, 0.1, 0.9], [0.001, 0.01, 0.01, 0.02, 0.03, 0.05]]
      >>> round(weighted_log_loss(y_true, y_prob), 6)
      0.056794
    """
    per_image = per_image_log_loss(y_true, y_prob)
    if sample_weight is None:
        return float(per_image.mean())
    weight = check_weights(sample_weight, len(per_image))
    with np.errstate(over="ignore"):
        total = weight.sum(axis=-1)
    if not (np.isfinite(total).all() and (total > 0).all()):
        raise ValueError("sample_weight must be not all 0, and of a finite sum.")
    return scalar(weight @ per_image / total)


def per_class_log_loss(y_true: ArrayLike, y_prob: ArrayLike) -> np.ndarray:
    """Computes the log loss of each class, averaged over images.

    Args:
      y_true: Labels [n, 6], 0 or 1, columns in the order of `labels.CLASSES`.
      y_prob: Probabilities [n, 6], in [0, 1]; clipped to [1e-15, 1 - 1e-15].

    Returns:
      Loss in nats, float64 [6], in the order of `labels.CLASSES`.

    Raises:
      ValueError: If shapes differ, there is no image, or a value is NaN or out of range.
    """
    truth, prob = _checked(y_true, y_prob)
    per_class: np.ndarray = binary_log_loss(truth, prob).mean(axis=0)
    return per_class


def constant_predictor(y_true: ArrayLike) -> np.ndarray:
    """Computes the best constant prediction for labels: each class's prevalence.

    Its loss on the same labels (`np.broadcast_to(p, y_true.shape)`) is the lowest of any constant:
    0.2311 on the challenge's stage-2 training set.

    Args:
      y_true: Labels [n, 6], 0 or 1, columns in the order of `labels.CLASSES`.

    Returns:
      Probabilities, float64 [6].

    Raises:
      ValueError: If the shape is wrong, there is no image, or a value is neither 0 nor 1.

    Examples:
      >>> constant_predictor([[0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]).tolist()
      [0.0, 0.5, 0.0, 0.0, 0.0, 0.5]
    """
    truth = _checked_labels(y_true)
    prevalence: np.ndarray = truth.mean(axis=0)
    return prevalence


def per_image_log_loss(y_true: ArrayLike, y_prob: ArrayLike) -> np.ndarray:
    """Computes the loss of each image, whose mean is `weighted_log_loss`.

    Args:
      y_true: Labels [n, 6], 0 or 1, columns in the order of `labels.CLASSES`.
      y_prob: Probabilities [n, 6], in [0, 1]; clipped to [1e-15, 1 - 1e-15].

    Returns:
      Loss in nats, float64 [n].

    Raises:
      ValueError: If shapes differ, there is no image, or a value is NaN or out of range.
    """
    truth, prob = _checked(y_true, y_prob)
    return np.asarray(binary_log_loss(truth, prob) @ np.asarray(WEIGHTS) / sum(WEIGHTS))


def sigmoid(logits: ArrayLike) -> np.ndarray:
    """Converts logits to probabilities, without overflow.

    Args:
      logits: Numbers of any shape.

    Returns:
      Probabilities, float64 of the same shape, in [0, 1].

    Examples:
      >>> sigmoid([0.0, -1000.0]).tolist()
      [0.5, 0.0]
    """
    values = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + small), small / (1 + small))


def logit(probabilities: ArrayLike) -> np.ndarray:
    """Converts probabilities to logits, the inverse of `sigmoid`.

    Args:
      probabilities: Numbers of any shape, in [0, 1]; clipped to [1e-15, 1 - 1e-15].

    Returns:
      Logits, float64 of the same shape.

    Examples:
      >>> logit(0.5).item()
      0.0
    """
    prob = np.clip(np.asarray(probabilities, np.float64), EPSILON, 1 - EPSILON)
    return np.asarray(np.log(prob) - np.log1p(-prob))


def binary_log_loss(truth: np.ndarray, prob: np.ndarray) -> np.ndarray:
    """The log loss of each probability, in nats; shapes and values are not checked."""
    prob = np.clip(prob, EPSILON, 1 - EPSILON)
    # log(1 - p), not log1p(-p), to round at the clip as the challenge and scikit-learn do.
    return -np.where(truth > 0, np.log(prob), np.log(1 - prob))


def check_six(labels: ArrayLike, name: str = "y_true") -> None:
    """Raises ValueError where labels are not [n, 6] with n of 1 or more."""
    shape = np.shape(labels)
    if len(shape) != 2 or shape[1] != len(CLASSES):
        raise ValueError(
            f"{name} has shape {shape}; expected (images, {len(CLASSES)}), columns "
            f"{', '.join(CLASSES)}."
        )
    if not shape[0]:
        raise ValueError(f"{name} has no images; expected at least 1.")


def _checked_labels(y_true: ArrayLike) -> np.ndarray:
    truth = np.asarray(y_true, np.float64)
    check_six(truth)
    if not np.isin(truth, (0.0, 1.0)).all():
        raise ValueError("y_true has values other than 0 and 1.")
    return truth


def _checked(y_true: ArrayLike, y_prob: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    truth = _checked_labels(y_true)
    prob = np.asarray(y_prob, np.float64)
    if prob.shape != truth.shape:
        raise ValueError(f"y_prob has shape {prob.shape}; y_true has {truth.shape}.")
    check_no_nan(prob)
    check_range(prob)
    return truth, prob
