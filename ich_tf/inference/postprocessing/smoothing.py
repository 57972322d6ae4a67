"""Probabilities along a series: a slice rarely bleeds alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ich_tf.metrics import logit, sigmoid


def smooth(values: np.ndarray, z_mm: np.ndarray, width_mm: float) -> np.ndarray:
    """Each slice's mean over its series, weighted by a Gaussian of the distance.

    Args:
      values: [n, k], of one series' slices in any order.
      z_mm: [n], along the series' normal.
      width_mm: The Gaussian's standard deviation; 0 leaves the values as they are.

    Returns:
      float64 [n, k].
    """
    values, z_mm = np.asarray(values, np.float64), np.asarray(z_mm, np.float64)
    if not width_mm:
        return values
    weight = np.exp(-0.5 * ((z_mm[:, None] - z_mm) / width_mm) ** 2)
    return np.asarray(weight @ values / weight.sum(axis=1, keepdims=True))


def smooth_logits(
    logits: np.ndarray, z_mm: np.ndarray, series: Sequence[str], width_mm: float
) -> np.ndarray:
    """The logits of the smoothed probabilities of many series.

    Probabilities, not logits: on held-out phantoms the weighted log loss went from 0.175 to 0.136,
    both calibrated, and with smoothed logits to 0.146. One certain slice does not drown its
    neighbours' doubts.

    Args:
      logits: [n, 6].
      z_mm: [n].
      series: [n], which series each slice is of; in any order.
      width_mm: As of `smooth`; 0 leaves the logits as they are.

    Returns:
      float64 [n, 6].
    """
    logits = np.asarray(logits, np.float64)
    if not width_mm:
        return logits
    smoothed = sigmoid(logits)
    for rows in rows_of(series).values():
        smoothed[rows] = smooth(smoothed[rows], np.asarray(z_mm)[rows], width_mm)
    return logit(smoothed)


def rows_of(keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Key -> the places where it stands, in order; keys by first appearance."""
    found: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return {key: np.array(places) for key, places in found.items()}
