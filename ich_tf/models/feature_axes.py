"""Alignment of several networks' features, by linear maps to the first one's components.

Networks that were trained on different folds find much the same features, each in axes of its own.
A sequence model that reads the features of all networks needs one set of axes: the first network's
principal components. For every other network a linear map is fitted that predicts them best, on
slices that both networks have seen, or neither. No label is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ich_tf.errors import DataError
from ich_tf.runtime.files import file_sha256
from ich_tf.runtime.writing import writing

if TYPE_CHECKING:
    import tensorflow as tf

AXES = "axes.npz"

# Strengths of the ridge to choose from, as shares of the mean variance of a feature.
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
# Every patient of so many is held out to choose by.
_HELD_OUT = 5


@dataclass(frozen=True, eq=False)
class Axes:
    """A linear map of a network's features.

    Attributes:
      mean: Mean of the features, which is subtracted first, float64 [F].
      weights: Weights of the map, float64 [F, d].
      explained: Share of the variance of the first network's axes that the map predicts on patients
        whom it was not fitted on; 1 for the first network itself.
    """

    mean: np.ndarray
    weights: np.ndarray
    explained: float = 1.0

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Maps features [n, F] to float32 [n, d], whose variance is about 1."""
        return np.asarray((features - self.mean) @ self.weights, np.float32)

    def map_graph(self, features: tf.Tensor) -> tf.Tensor:
        """Maps features as a call does, in a graph: float32 [n, F] -> float32 [n, d]."""
        import tensorflow as tf

        centred = tf.cast(features, tf.float64) - self.mean
        return tf.cast(tf.linalg.matmul(centred, self.weights), tf.float32)


def save_axes(path: Path, axes: Sequence[Axes]) -> None:
    """Writes the axes of networks, in their order, as an npz file."""
    with writing(path):
        np.savez(
            path,
            **{f"mean_{i}": network_axes.mean for i, network_axes in enumerate(axes)},
            **{f"weights_{i}": network_axes.weights for i, network_axes in enumerate(axes)},
        )


def load_axes(path: Path, sha256: str) -> list[Axes]:
    """Reads the axes that `save_axes` wrote.

    Args:
      path: The file.
      sha256: Expected SHA-256 of the file.

    Raises:
      DataError: If the file is missing or has another hash.
    """
    if not path.is_file() or file_sha256(path) != sha256:
        raise DataError(f"{path}: missing or damaged. Run python -m ich_tf.extract_features.")
    with np.load(path) as arrays:
        count = len(arrays.files) // 2
        return [Axes(arrays[f"mean_{i}"], arrays[f"weights_{i}"]) for i in range(count)]


def principal_axes(features: np.ndarray, dim: int) -> Axes:
    """Computes the principal components of features, each scaled to variance 1.

    Args:
      features: Features of n slices, [n, F].
      dim: Number of components, d; the result has fewer if the features have a lower rank.
    """
    features = np.asarray(features, np.float64)
    mean = features.mean(axis=0)
    _, scale, rows = np.linalg.svd(features - mean, full_matrices=False)
    scale = scale / np.sqrt(len(features))
    kept = min(dim, int(np.sum(scale > 1e-6 * scale[0])))
    return Axes(mean, rows[:kept].T / scale[:kept])


def fit_axes(features: np.ndarray, target: np.ndarray, patients: Sequence[str]) -> Axes:
    """Fits the linear map that predicts another network's axes, by ridge regression.

    The strength of the ridge is the best on held-out patients: slices of a patient are alike, so
    that on held-out slices of known patients the weakest looks best. A single patient's slices are
    held out themselves.

    Args:
      features: Features of this network, [n, F].
      target: Features of the other network of the same slices, in its axes, [n, d].
      patients: Patient of each slice, [n].
    """
    features = np.asarray(features, np.float64)
    _, number = np.unique(np.asarray(patients), return_inverse=True)
    if number.max() == 0:
        number = np.arange(len(features))
    held_out = number % _HELD_OUT == 0
    fits = [_ridge(features[~held_out], target[~held_out], ridge) for ridge in _RIDGES]
    scores = [_explained(axes(features[held_out]), target[held_out]) for axes in fits]
    best = int(np.argmax(scores))
    whole = _ridge(features, target, _RIDGES[best])
    return Axes(whole.mean, whole.weights, scores[best])


def _ridge(features: np.ndarray, target: np.ndarray, ridge: float) -> Axes:
    mean = features.mean(axis=0)
    centred = features - mean
    strength = ridge * len(features) * centred.var(axis=0).mean()
    # In the space of slices or of features, whichever is smaller.
    if len(features) < features.shape[1]:
        inner = centred @ centred.T + strength * np.eye(len(features))
        weights = centred.T @ np.linalg.solve(inner, target)
    else:
        inner = centred.T @ centred + strength * np.eye(features.shape[1])
        weights = np.linalg.solve(inner, centred.T @ target)
    return Axes(mean, weights)


def _explained(predicted: np.ndarray, target: np.ndarray) -> float:
    residual = np.mean((predicted - target) ** 2)
    return float(1 - residual / np.mean((target - target.mean(axis=0)) ** 2))
