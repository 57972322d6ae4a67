"""The weighted multi-label log loss of the RSNA 2019 challenge, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.labels import CLASSES, WEIGHTS

# The challenge's clip. In float32 1 - 1e-15 is 1, so every computation here is in float64.
EPSILON = 1e-15


def weighted_log_loss(
    y_true: ArrayLike, y_prob: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Mean over images of sum_c w_c * logloss_c / sum_c w_c; `any` weighs 2, the rest 1.

    Equals scikit-learn's `log_loss` over all (image, class) pairs with the class weights as
    `sample_weight`.

    Args:
      y_true: [n, 6], 0 or 1, columns in the order of `labels.CLASSES`.
      y_prob: [n, 6] in [0, 1]; clipped to [1e-15, 1 - 1e-15].
      sample_weight: [n] of 0 or more, a weight for each image; None counts all alike.

    Returns:
      The loss in nats.

    Raises:
      ValueError: If shapes differ, there is no image, or a value is NaN or out of range.

    Example:
      >>> y_true = [[0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]
      >>> y_prob = [[0.01, 0.8, 0.05, 0.02, 0.1, 0.9], [0.001, 0.01, 0.01, 0.02, 0.03, 0.05]]
      >>> round(weighted_log_loss(y_true, y_prob), 6)
      0.056794
    """
    per_image = per_image_log_loss(y_true, y_prob)
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
    per_class: np.ndarray = binary_log_loss(truth, prob).mean(axis=0)
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


def per_image_log_loss(y_true: ArrayLike, y_prob: ArrayLike) -> np.ndarray:
    """`weighted_log_loss` of each image, float64 [n]. Arguments and errors likewise."""
    truth, prob = _checked(y_true, y_prob)
    return np.asarray(binary_log_loss(truth, prob) @ np.asarray(WEIGHTS) / sum(WEIGHTS))


def sigmoid(logits: ArrayLike) -> np.ndarray:
    """Logits -> probabilities in float64, without overflow."""
    values = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + small), small / (1 + small))


def logit(probabilities: ArrayLike) -> np.ndarray:
    """The inverse of `sigmoid`, float64; probabilities are clipped as in the loss."""
    prob = np.clip(np.asarray(probabilities, np.float64), EPSILON, 1 - EPSILON)
    return np.asarray(np.log(prob) - np.log1p(-prob))


def binary_log_loss(truth: np.ndarray, prob: np.ndarray) -> np.ndarray:
    """The log loss of each probability, of arrays of one shape that are known to be sound."""
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
