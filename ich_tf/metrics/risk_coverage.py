"""Risk-coverage curves: how wrong a model is on the examples that it is least uncertain about.

A useful uncertainty puts the errors last: whoever leaves the most uncertain examples to people
errs less on the others (El-Yaniv and Wiener 2010, JMLR 11, 1605-1641).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.binary import ratio, scalar


def risk_coverage_curve(
    loss: ArrayLike, uncertainty: ArrayLike, sample_weight: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the mean loss of the least uncertain examples, for each share of them.

    Args:
      loss: Loss of each example, [n], such as 1 for a wrong decision and 0 for a right one.
      uncertainty: Uncertainty of each, [n]; greater means less certain. Equal ones are kept or left
        together.
      sample_weight: Weights, 0 or more: [n], or [..., n] for a curve of each row. None for equal
        weights.

    Returns:
      Coverage, the share of examples that are kept, and risk, their mean loss: each float64
      [..., k] for k distinct uncertainties, from the most certain to all. Risk is NaN where nothing
      is kept.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Examples:
      >>> coverage, risk = risk_coverage_curve([0, 1, 0, 0], [0.1, 0.9, 0.2, 0.2])
      >>> coverage.tolist(), risk.tolist()
      ([0.25, 0.75, 1.0], [0.0, 0.0, 0.25])
    """
    losses, uncertain, weight = _check(loss, uncertainty, sample_weight)
    order = np.argsort(uncertain, kind="stable")
    last_of_ties = np.flatnonzero(np.append(np.diff(uncertain[order]) != 0, True))
    kept = np.cumsum(weight[..., order], axis=-1)[..., last_of_ties]
    lost = np.cumsum(weight[..., order] * losses[order], axis=-1)[..., last_of_ties]
    return ratio(kept, kept[..., -1:]), ratio(lost, kept)


def area_under_risk_coverage(
    loss: ArrayLike, uncertainty: ArrayLike, sample_weight: ArrayLike | None = None
) -> np.ndarray | float:
    """Computes the mean of the risk over all coverages; less is better.

    An uncertainty that says nothing has the mean loss of all examples. Errors that are all put last
    still count, so that the least possible area is not 0 but follows from the number of errors.

    Args:
      loss: As of `risk_coverage_curve`.
      uncertainty: As of `risk_coverage_curve`.
      sample_weight: As of `risk_coverage_curve`.

    Returns:
      A float, or float64 [...]; NaN for weights whose sum is 0.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Examples:
      >>> area_under_risk_coverage([0, 1, 0, 0], [0.1, 0.9, 0.2, 0.2])
      0.0625
      >>> area_under_risk_coverage([0, 1, 0, 0], [0, 0, 0, 0])
      0.25
    """
    coverage, risk = risk_coverage_curve(loss, uncertainty, sample_weight)
    steps = np.diff(coverage, prepend=0.0)
    # Nothing is kept up to the first example of a resample: that part of the curve has no width.
    area = np.where(steps > 0, steps * risk, 0.0).sum(axis=-1)
    return scalar(np.where(np.isnan(coverage[..., -1]), np.nan, area))


def _check(
    loss: ArrayLike, uncertainty: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    losses, uncertain = np.asarray(loss, np.float64), np.asarray(uncertainty, np.float64)
    if losses.ndim != 1 or not len(losses):
        raise ValueError(f"loss has shape {losses.shape}; expected (n,) with n of 1 or more.")
    if uncertain.shape != losses.shape:
        raise ValueError(f"uncertainty has shape {uncertain.shape}; loss has {losses.shape}.")
    if np.isnan(losses).any() or np.isnan(uncertain).any():
        raise ValueError("loss or uncertainty has NaN values.")
    weight = (
        np.ones(len(losses)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    )
    if weight.shape[-1:] != losses.shape:
        raise ValueError(f"sample_weight has shape {weight.shape}; expected (..., {len(losses)}).")
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError("sample_weight must be finite, and 0 or more.")
    return losses, uncertain, weight
