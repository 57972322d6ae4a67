"""Slices -> series -> patients: what is said of a whole from what is said of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.inference.postprocessing.smoothing import rows_of

SLICE = "slice"
SERIES_MODEL = "series_model"
# Level -> what it means. A whole bleeds where a slice of it does.
LEVELS = {
    SLICE: "each slice for itself",
    SERIES_MODEL: "a series, by the model that reads it whole",
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


def at_levels(
    labels: np.ndarray,
    probabilities: np.ndarray,
    series: Sequence[str],
    patients: Sequence[str],
    whole: np.ndarray | None = None,
) -> dict[str, Scored]:
    """Slices as things of each level.

    Args:
      labels: [n, 6], 0 or 1.
      probabilities: [n, 6].
      series: [n].
      patients: [n].
      whole: [n, 6], what a series model says of each slice's series; None for other models.

    Returns:
      One of each of `LEVELS`, of `SERIES_MODEL` only where there is one.
    """
    found = {SLICE: Scored(labels, probabilities, np.asarray(patients))}
    for level in LEVELS:
        if level == SLICE or (level == SERIES_MODEL and whole is None):
            continue
        unit, _, rule = level.partition("_")
        rows = list(rows_of(series if unit == "series" else patients).values())
        if level == SERIES_MODEL:
            assert whole is not None
            pooled = whole[[row[0] for row in rows]]
        else:
            pool = max_probability if rule == "max" else noisy_or
            pooled = np.stack([pool(probabilities[row]) for row in rows])
        found[level] = Scored(
            np.stack([labels[row].max(axis=0) for row in rows]),
            pooled,
            np.asarray([patients[row[0]] for row in rows]),
        )
    return found
