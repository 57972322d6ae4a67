"""Prevalence: probabilities for a population in which bleeds are more or less common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ich_tf.labels import ANY

if TYPE_CHECKING:
    import tensorflow as tf


def shift_prevalence(
    probabilities: np.ndarray, prevalence: float, new_prevalence: float
) -> np.ndarray:
    """Moves probabilities to another prevalence, by Bayes' rule.

    Bleeds are assumed to look alike and to mix alike in both populations. With k the quotient of
    the odds of the prevalences and a the probability of a bleed, a class's probability c becomes
    k * c / (1 + (k - 1) * a): the inverse of `models.prior_shift.undo_prior_shift`.

    Args:
      probabilities: [n, 6], columns in the order of `labels.CLASSES`.
      prevalence: Share of slices with a bleed that the probabilities hold for, in (0, 1).
      new_prevalence: Share of slices with a bleed that the result is to hold for, in (0, 1).

    Returns:
      float64 [n, 6].

    Raises:
      ValueError: If a prevalence is out of range.

    Examples:
      >>> shift_prevalence(np.full((1, 6), 0.5), 0.5, 0.1)[0, 5].round(3)
      0.1
    """
    factor = _odds_factor(prevalence, new_prevalence)
    probabilities = np.asarray(probabilities, np.float64)
    # A model may find a subtype more likely than any bleed at all; the greater one is the bleed's.
    bleed = np.maximum(probabilities, probabilities[:, ANY : ANY + 1])
    return np.asarray(factor * probabilities / (1 + (factor - 1) * bleed))


def shift_prevalence_graph(
    probabilities: tf.Tensor, prevalence: float, new_prevalence: float
) -> tf.Tensor:
    """`shift_prevalence` in a graph: float64 [n, 6] -> float64 [n, 6]."""
    import tensorflow as tf

    factor = _odds_factor(prevalence, new_prevalence)
    bleed = tf.maximum(probabilities, probabilities[:, ANY : ANY + 1])
    return factor * probabilities / (1 + (factor - 1) * bleed)


def _odds_factor(prevalence: float, new_prevalence: float) -> float:
    for value in (prevalence, new_prevalence):
        if not 0 < value < 1:
            raise ValueError(f"a prevalence is {value}; it must lie between 0 and 1.")
    return new_prevalence / (1 - new_prevalence) * (1 - prevalence) / prevalence
