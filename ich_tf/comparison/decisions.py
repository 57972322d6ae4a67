"""Decisions of two models case by case: a table as McNemar's, with intervals of its rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ich_tf.comparison.differences import Difference
from ich_tf.labels import CLASSES
from ich_tf.labels.classes import POSITIVE_SHARE


@dataclass(frozen=True)
class Agreement:
    """Numbers of examples by which model decides rightly.

    Attributes:
      both: Both are right.
      only_model: The model is right, and the reference is wrong.
      only_reference: The reference is right, and the model is wrong.
      neither: Both are wrong.
    """

    both: int
    only_model: int
    only_reference: int
    neither: int


@dataclass(frozen=True)
class Decisions:
    """Decisions of a model beside those of the reference, each at its own operating point.

    Attributes:
      model, reference: Names of the models.
      class_name: Class.
      model_threshold, reference_threshold: Least probability of a positive decision of each.
      positives: Agreement on the examples that show the class: right is a positive decision.
      negatives: Agreement on those that do not.
      sensitivity, specificity: Differences, with intervals that resample patients. McNemar's test
        would take slices of one patient for independent.
    """

    model: str
    reference: str
    class_name: str
    model_threshold: float
    reference_threshold: float
    positives: Agreement
    negatives: Agreement
    sensitivity: Difference
    specificity: Difference


def agreements(
    labels: np.ndarray,
    model: np.ndarray,
    reference: np.ndarray,
    class_name: str,
    thresholds: tuple[float, float],
) -> tuple[Agreement, Agreement]:
    """Counts agreements of decisions.

    Args:
      labels: float64 [n, 6], in [0, 1]; examples in which the class is unknown, NaN, do not count.
      model: Probabilities of the model, float64 [n, 6].
      reference: Probabilities of the reference, float64 [n, 6].
      class_name: Class.
      thresholds: Least probability of a positive decision of the model, and of the reference.

    Returns:
      Agreement on the positives, and on the negatives.
    """
    column = CLASSES.index(class_name)
    share = labels[:, column]
    is_positive = share >= POSITIVE_SHARE
    ours, theirs = model[:, column] >= thresholds[0], reference[:, column] >= thresholds[1]
    counts = []
    for members in (is_positive, share < POSITIVE_SHARE):
        right, right_too = ((each == is_positive)[members] for each in (ours, theirs))
        counts.append(
            Agreement(
                int((right & right_too).sum()),
                int((right & ~right_too).sum()),
                int((~right & right_too).sum()),
                int((~right & ~right_too).sum()),
            )
        )
    return counts[0], counts[1]
