"""Thresholds that hold an error rate on new patients, whatever the model and its probabilities.

A patient with a bleed is missed if one of their positive exams is decided against. Among the m
patients with a bleed whom a threshold is chosen on, the greatest threshold is taken that misses at
most k of them. New patients who are exchangeable with those, such as the next ones of the same
hospital, are then missed at a rate that follows from k and m alone. There are two promises:

- On average: over all sets of m patients and the next one, at most `rate` are missed if
  (k + 1) / (m + 1) <= rate. That is conformal risk control (Angelopoulos et al. 2022,
  arXiv:2208.02814). The rate at one site, from one set of patients, is above it about half of the
  time.
- With confidence: in a share `confidence` of all sets of m patients, the threshold that comes of
  them misses at most `rate` of all new patients, if Bin(m, rate) is at most k with a probability of
  at most 1 - confidence (Wilks 1941, doi:10.1214/aoms/1177731788; the upper bound of Bates et al.
  2021, arXiv:2101.02703, for errors of 0 and 1).

Nothing is promised for other scanners, hospitals or mixtures of patients, nor of each subgroup. The
patients must not be those that the model learned from. The rate is one among patients with a bleed,
so that it does not depend on how many of all have one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.binary import check_scores
from ich_tf.metrics.groups import group_numbers


@dataclass(frozen=True)
class ControlledThreshold:
    """A threshold that holds an error rate.

    Attributes:
      threshold: Of `control_misses`: decisions below it are negative; -infinity if none may be. Of
        `control_false_alarms`: decisions at or above it are positive; infinity if none may be.
      num_patients: Number of patients who could be missed, or alarmed falsely: m.
      num_errors: Number of errors that the choice allowed among them, k; -1 if m is too small to
        promise anything.
    """

    threshold: float
    num_patients: int
    num_errors: int


def control_misses(
    y_true: ArrayLike,
    y_score: ArrayLike,
    patients: Sequence[Any] | np.ndarray,
    *,
    rate: float,
    confidence: float = 0.0,
) -> ControlledThreshold:
    """Chooses the greatest threshold below which decisions are negative, at a limited miss rate.

    Args:
      y_true: Labels of exams, [n], 0 or 1.
      y_score: Scores [n]; greater means positive.
      patients: Patient of each exam, [n].
      rate: Largest share of the patients with a positive exam of whom one is decided against, in
        (0, 1).
      confidence: Probability that the promise holds for the threshold that was chosen, in (0, 1);
        0 for a promise on average over all that could have been chosen.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Examples:
      >>> truth, score = [1] * 19 + [0], [0.05 * (i + 1) for i in range(19)] + [0.01]
      >>> chosen = control_misses(truth, score, range(20), rate=0.1)
      >>> chosen.threshold, chosen.num_patients, chosen.num_errors
      (0.1, 19, 1)
    """
    truth, score, _ = check_scores(y_true, y_score, None)
    groups = group_numbers(patients, "patients")
    if groups.shape != truth.shape:
        raise ValueError(f"patients has shape {groups.shape}; y_true has {truth.shape}.")
    _, member = np.unique(groups[truth], return_inverse=True)
    number = int(member.max()) + 1 if len(member) else 0
    # A patient is missed as soon as the exam with the least score is.
    least = np.full(number, np.inf)
    np.minimum.at(least, member, score[truth])
    allowed = allowed_errors(number, rate=rate, confidence=confidence)
    threshold = float(np.sort(least)[allowed]) if allowed >= 0 else -math.inf
    return ControlledThreshold(threshold, number, allowed)


def control_false_alarms(
    y_true: ArrayLike,
    y_score: ArrayLike,
    patients: Sequence[Any] | np.ndarray,
    *,
    rate: float,
    confidence: float = 0.0,
) -> ControlledThreshold:
    """Chooses the least threshold from which decisions are positive, at a limited false alarm rate.

    It is `control_misses` the other way round: of the patients with a negative exam, at most a
    share `rate` has one that is decided for.

    Args:
      y_true: As of `control_misses`.
      y_score: As of `control_misses`.
      patients: As of `control_misses`.
      rate: Largest share of the patients with a negative exam of whom one is decided for, in
        (0, 1).
      confidence: As of `control_misses`.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.
    """
    truth, score, _ = check_scores(y_true, y_score, None)
    mirrored = control_misses(~truth, -score, patients, rate=rate, confidence=confidence)
    # Scores up to the mirrored threshold are no alarm, that one included.
    threshold = float(np.nextafter(-mirrored.threshold, np.inf))
    return ControlledThreshold(threshold, mirrored.num_patients, mirrored.num_errors)


def allowed_errors(number: int, *, rate: float, confidence: float = 0.0) -> int:
    """Returns how many of m patients may be wrong for a promise about new ones; -1 if none can be.

    Args:
      number: Number of patients, m.
      rate: Error rate that is promised, in (0, 1).
      confidence: As of `control_misses`.

    Raises:
      ValueError: If a number is out of range.

    Examples:
      >>> [allowed_errors(m, rate=0.05) for m in (18, 19, 39)]
      [-1, 0, 1]
      >>> [allowed_errors(m, rate=0.05, confidence=0.95) for m in (58, 59, 93)]
      [-1, 0, 1]
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate is {rate}; it must be in (0, 1).")
    if not 0 <= confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must be in [0, 1).")
    if not confidence:
        # 0.05 * 20 is 1, which rounding may miss.
        return math.floor(rate * (number + 1) + 1e-9) - 1
    errors, cumulative = -1, 0.0
    while errors + 1 < number:
        cumulative += _binomial(number, errors + 1, rate)
        if cumulative > 1 - confidence + 1e-12:
            break
        errors += 1
    return errors


def highest_rate(errors: int, number: int, confidence: float = 0.95) -> float:
    """Returns the greatest error rate that so many errors among so many patients leave likely.

    It is the upper end of the one-sided exact interval (Clopper and Pearson 1934,
    doi:10.1093/biomet/26.4.404).

    Args:
      errors: Number of errors.
      number: Number of patients.
      confidence: Probability that the rate is not above it, in (0, 1).

    Returns:
      A rate; NaN without patients.

    Examples:
      >>> round(highest_rate(0, 59), 3), highest_rate(3, 3)
      (0.05, 1.0)
    """
    if not number:
        return math.nan
    if errors == number:
        return 1.0
    low, high = errors / number, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        tail = sum(_binomial(number, count, rate) for count in range(errors + 1))
        low, high = (rate, high) if tail > 1 - confidence else (low, rate)
    return high


def least_patients(*, rate: float, confidence: float = 0.0) -> int:
    """Returns the number of patients from which something can be promised.

    Examples:
      >>> least_patients(rate=0.05), least_patients(rate=0.05, confidence=0.95)
      (19, 59)
    """
    number = 1
    while allowed_errors(number, rate=rate, confidence=confidence) < 0:
        number += 1
    return number


def _binomial(number: int, errors: int, rate: float) -> float:
    """Probability of so many errors among so many patients, at a rate in (0, 1)."""
    log = math.lgamma(number + 1) - math.lgamma(errors + 1) - math.lgamma(number - errors + 1)
    return math.exp(log + errors * math.log(rate) + (number - errors) * math.log1p(-rate))
