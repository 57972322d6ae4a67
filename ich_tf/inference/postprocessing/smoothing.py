"""Smoothing along a series: neighbouring slices of a bleed mostly show it, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ich_tf.inference.postprocessing.mixture import logit_graph
from ich_tf.metrics import logit, sigmoid

if TYPE_CHECKING:
    import tensorflow as tf


def smooth(values: np.ndarray, z_mm: np.ndarray, width_mm: float) -> np.ndarray:
    """Replaces each slice's values by their mean over the series, weighted by a Gaussian.

    Args:
      values: [n, k], of the slices of one series in any order.
      z_mm: Positions along the normal of the series, mm, [n].
      width_mm: Standard deviation of the Gaussian, mm; 0 returns the values as they are.

    Returns:
      float64 [n, k].
    """
    values, z_mm = np.asarray(values, np.float64), np.asarray(z_mm, np.float64)
    if not width_mm:
        return values
    weight = np.exp(-0.5 * ((z_mm[:, None] - z_mm) / width_mm) ** 2)
    return np.asarray(weight @ values / weight.sum(axis=1, keepdims=True))


def smooth_graph(values: tf.Tensor, z_mm: tf.Tensor, width_mm: float) -> tf.Tensor:
    """`smooth` in a graph: float64 [n, k] and [n] -> float64 [n, k]."""
    import tensorflow as tf

    if not width_mm:
        return values
    weight = tf.exp(-0.5 * ((z_mm[:, None] - z_mm) / width_mm) ** 2)
    return tf.linalg.matmul(weight / tf.reduce_sum(weight, 1, keepdims=True), values)


def smooth_logits(
    logits: np.ndarray, z_mm: np.ndarray, series: Sequence[str], width_mm: float
) -> np.ndarray:
    """Smooths the probabilities of many series, given and returned as logits.

    Probabilities, not logits: on held-out phantoms the weighted log loss went from 0.175 to 0.136,
    both calibrated, and with smoothed logits to 0.146. A certain slice counts for less beside
    uncertain neighbours.

    Args:
      logits: [n, 6].
      z_mm: Positions along the normal of each series, mm, [n].
      series: Key of each slice's series, [n]; in any order.
      width_mm: Standard deviation of the Gaussian, mm; 0 returns the logits as they are.

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


def smooth_logits_graph(logits: tf.Tensor, z_mm: tf.Tensor, width_mm: float) -> tf.Tensor:
    """`smooth_logits` of one series in a graph: float64 [n, 6] and [n] -> float64 [n, 6]."""
    import tensorflow as tf

    if not width_mm:
        return logits
    return logit_graph(smooth_graph(tf.sigmoid(logits), z_mm, width_mm))


def rows_of(keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Groups row numbers by key.

    Args:
      keys: Key of each row, [n].

    Returns:
      Key -> its row numbers, int64, ascending; keys in the order of their first row.

    Examples:
      >>> {key: rows.tolist() for key, rows in rows_of(["a", "b", "a"]).items()}
      {'a': [0, 2], 'b': [1]}
    """
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return {key: np.array(numbers) for key, numbers in rows.items()}
