"""Aggregation of slices: probabilities of series and of patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.inference.exams import exams_of, join_exams
from ich_tf.inference.postprocessing.smoothing import rows_of

SLICE = "slice"
SERIES_MODEL = "series_model"
SERIES_MAX = "series_max"
# Level -> description, for reports. The label of a series is its exam's: where none was given, it
# is the maximum of its slices' labels. That of a patient is the maximum of the exams'.
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
    """Labels and probabilities of m examples of one level: slices, series or patients.

    Attributes:
      labels: [m, 6], 0 or 1; NaN where unknown, and shares of readers where an exam has them. At
        least one class of each example is known.
      probabilities: float64 [m, 6].
      patients: Patient key of each example, str [m].
    """

    labels: np.ndarray
    probabilities: np.ndarray
    patients: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def max_probability(probabilities: np.ndarray) -> np.ndarray:
    """Returns the greatest probability of each class, [n, 6] -> [6]."""
    return np.asarray(probabilities.max(axis=0))


def noisy_or(probabilities: np.ndarray) -> np.ndarray:
    """Returns the probability that some slice bleeds if slices are independent, [n, 6] -> [6].

    They are not: the result is too high where many slices show one bleed, and grows with their
    number.
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
    exam_labels: np.ndarray | None = None,
) -> dict[str, Scored]:
    """Aggregates slices to each of `LEVELS`.

    Args:
      labels: Labels of the slices, [n, 6], 0 or 1, or NaN where unknown.
      probabilities: Probabilities of the slices, [n, 6].
      series: Series key of each slice, [n].
      patients: Patient key of each slice, [n].
      whole: Probabilities of each slice's series by a series model, [n, 6]; None without one.
      exam_labels: Labels of each slice's exam, [n, 6], in [0, 1] or NaN; None for what follows from
        those of the slices.

    Returns:
      Level -> its examples of which something is known, in the order of `LEVELS`; levels without
      any are missing, and `SERIES_MODEL` is unless `whole` is given.
    """
    exams = exams_of(labels, series)[0] if exam_labels is None else exam_labels
    scored = {SLICE: Scored(labels, probabilities, np.asarray(patients))}
    for level in LEVELS:
        if level == SLICE or (level == SERIES_MODEL and whole is None):
            continue
        unit, _, rule = level.partition("_")
        groups = list(rows_of(series if unit == "series" else patients).values())
        if level == SERIES_MODEL:
            assert whole is not None
            pooled = whole[[rows[0] for rows in groups]]
        else:
            pool = max_probability if rule == "max" else noisy_or
            pooled = np.stack([pool(probabilities[rows]) for rows in groups])
        scored[level] = Scored(
            np.stack([join_exams(exams[rows]) for rows in groups]),
            pooled,
            np.asarray([patients[rows[0]] for rows in groups]),
        )
    told = {level: of_known(examples) for level, examples in scored.items()}
    return {level: examples for level, examples in told.items() if len(examples)}


def of_known(scored: Scored) -> Scored:
    """The examples of which a label is known; the same object if they all are."""
    known = ~np.isnan(scored.labels).all(axis=1)
    if known.all():
        return scored
    return Scored(scored.labels[known], scored.probabilities[known], scored.patients[known])
