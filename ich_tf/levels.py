"""Slices -> series -> patients: what is said of a whole from what is said of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.smoothing import rows_of

SLICE = "slice"
# Level -> what it means. A whole bleeds where a slice of it does.
LEVELS = {
    SLICE: "each slice for itself",
    "series_max": "a series, by its greatest probability",
    "series_noisy_or": "a series, by 1 - the product of (1 - p)",
    "patient_max": "a patient, by the greatest probability",
    "patient_noisy_or": "a patient, by 1 - the product of (1 - p)",
}


@dataclass(frozen=True, eq=False)
class Scored:
    """Labels and probabilities of m things of one level.

    Attributes:
      labels: [m, 6], 0 or 1.
      probabilities: float64 [m, 6].
      patients: [m], whose each is.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    patients: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def max_probability(probabilities: np.ndarray) -> np.ndarray:
    """[n, 6] -> [6]: that of the most suspicious slice."""
    return np.asarray(probabilities.max(axis=0))


def noisy_or(probabilities: np.ndarray) -> np.ndarray:
    """[n, 6] -> [6]: that some slice bleeds, if slices were independent.

    They are not: it is too high where many slices show the same thing, and grows with their number.
    """
    certain = np.any(probabilities >= 1, axis=0)
    safe = np.where(probabilities >= 1, 0.0, probabilities)
    return np.where(certain, 1.0, -np.expm1(np.log1p(-safe).sum(axis=0)))


def at_level(
    level: str,
    labels: np.ndarray,
    probabilities: np.ndarray,
    series: Sequence[str],
    patients: Sequence[str],
) -> Scored:
    """Slices as things of a level.

    Args:
      level: One of `LEVELS`.
      labels: [n, 6], 0 or 1.
      probabilities: [n, 6].
      series: [n].
      patients: [n].
    """
    if level == SLICE:
        return Scored(labels, probabilities, np.asarray(patients))
    unit, _, rule = level.partition("_")
    pool = max_probability if rule == "max" else noisy_or
    rows = list(rows_of(series if unit == "series" else patients).values())
    return Scored(
        np.stack([labels[row].max(axis=0) for row in rows]),
        np.stack([pool(probabilities[row]) for row in rows]),
        np.asarray([patients[row[0]] for row in rows]),
    )
