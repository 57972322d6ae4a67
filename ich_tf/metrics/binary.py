"""Checks of inputs, and what the metrics of one class share."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def check_scores(
    y_true: ArrayLike,
    y_score: ArrayLike,
    sample_weight: ArrayLike | None,
    *,
    soft: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Checks and converts the labels, scores and weights of one class.

    Args:
      y_true: Labels [n], 0 or 1.
      y_score: Scores [n], without NaN.
      sample_weight: Weights, 0 or more: [n], or [..., n] for a sample of weights in each row, as of
        a bootstrap. None for equal weights.
      soft: Whether labels may be anything in [0, 1].

    Returns:
      Labels, bool [n], or float64 [n] where they are soft; scores, float64 [n]; weights, float64
      [..., n].

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.
    """
    truth = np.asarray(y_true)
    score = np.asarray(y_score, np.float64)
    if truth.ndim != 1 or not len(truth):
        raise ValueError(f"y_true has shape {truth.shape}; expected (n,) with n of 1 or more.")
    if score.shape != truth.shape:
        raise ValueError(f"y_score has shape {score.shape}; y_true has {truth.shape}.")
    is_hard = ((truth == 0) | (truth == 1)).all()
    if soft and not ((truth >= 0) & (truth <= 1)).all():
        raise ValueError("y_true has values outside of [0, 1].")
    if not soft and not is_hard:
        raise ValueError("y_true has values other than 0 and 1.")
    check_no_nan(score, "y_score")
    weight = check_weights(sample_weight, len(truth))
    return truth == 1 if is_hard else truth.astype(np.float64), score, weight


def check_probabilities(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    sample_weight: ArrayLike | None,
    *,
    soft: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Checks and converts as `check_scores`; the scores must be probabilities in [0, 1]."""
    truth, prob, weight = check_scores(y_true, y_prob, sample_weight, soft=soft)
    check_range(prob)
    return truth, prob, weight


def check_weights(sample_weight: ArrayLike | None, number: int) -> np.ndarray:
    """Checks and converts weights.

    Args:
      sample_weight: Weights, 0 or more: [n], or [..., n]. None for equal weights.
      number: The number n.

    Returns:
      float64 [n] or [..., n].

    Raises:
      ValueError: If the shape is another, or a weight is negative or not finite.
    """
    if sample_weight is None:
        return np.ones(number)
    weight = np.asarray(sample_weight, np.float64)
    if weight.shape[-1:] != (number,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}; expected (..., {number}), a weight for "
            "each label."
        )
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError("sample_weight must be finite, and 0 or more.")
    return weight


def check_no_nan(values: np.ndarray, name: str = "y_prob") -> None:
    """Raises ValueError where a value is NaN."""
    if np.isnan(values).any():
        raise ValueError(f"{name} has {int(np.isnan(values).sum())} NaN values.")


def check_range(prob: np.ndarray) -> None:
    """Raises ValueError where a value is no probability; NaN is looked at by `check_no_nan`."""
    if ((prob < 0) | (prob > 1)).any():
        raise ValueError(
            f"y_prob spans [{np.nanmin(prob):g}, {np.nanmax(prob):g}]; probabilities lie in "
            "[0, 1]. Pass logits through `sigmoid` first."
        )


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient; NaN, without a warning, where the denominator is 0."""
    defined = denominator != 0
    return np.where(defined, numerator / np.where(defined, denominator, 1), np.nan)


def scalar(value: np.ndarray) -> np.ndarray | float:
    """A float for an array without axes; any other array unchanged."""
    return float(value) if np.ndim(value) == 0 else value
