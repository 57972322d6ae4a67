"""Difference of a metric between two models on the same patients, with its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.bootstrap import MOST_UNDEFINED, bootstrap_values


@dataclass(frozen=True)
class PairedDifference:
    """Metrics of two models and their difference: floats, or float64 [k] for k metrics.

    Attributes:
      first, second: Metric of each model; NaN where it is not defined.
      difference: `second` - `first`.
      low, high: Ends of the interval of the difference; NaN where there is none.
    """

    first: Any
    second: Any
    difference: Any
    low: Any
    high: Any


def paired_bootstrap(
    first: Callable[[np.ndarray], ArrayLike],
    second: Callable[[np.ndarray], ArrayLike],
    groups: Sequence[Any] | np.ndarray,
    *,
    num_groups: ArrayLike | None = None,
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Computes the difference of a metric between two models, and its interval.

    Both models are scored on the same resampled patients, so that what makes a patient hard for
    both cancels. The interval is the difference plus and minus Student's t times the standard
    deviation of the resampled differences. A percentile interval of the same resamples is too
    narrow where patients are few, and does worst for decisions: the sensitivity's difference is a
    small whole number over the number of patients (`tools.simulate_intervals` measures both).

    Args:
      first: Function of weights, float64 [b, n], that returns the metric of the first model in b
        samples, [b], or [b, k] for k metrics; slice i occurs weights[:, i] times in each sample.
      second: The same of the second model, on the same slices in the same order.
      groups: Group of each slice, [n], such as the patient's key.
      num_groups: Number of groups that each metric rests on, such as the patients with a bleed for
        a sensitivity, a number or [k]: Student's t has one degree of freedom fewer. None for all
        groups.
      num_resamples: Number of samples to draw.
      level: Confidence level, in (0, 1).
      seed: Seed of the resampling.

    Returns:
      Metrics, difference and interval. There is no interval for a single group, if the difference
      is the same in every sample, and if it is undefined in more than 5 % of them.

    Raises:
      ValueError: If there is no group, or a number is out of range.

    Examples:
      >>> import numpy as np
      >>> from ich_tf.metrics import roc_auc
      >>> rng = np.random.default_rng(0)
      >>> y_true = rng.integers(0, 2, 200)
      >>> good, bad = y_true + rng.normal(size=200), y_true + rng.normal(size=200) * 3
      >>> patients = np.repeat(np.arange(100), 2)
      >>> compared = paired_bootstrap(
      ...     lambda weight: roc_auc(y_true, bad, weight),
      ...     lambda weight: roc_auc(y_true, good, weight),
      ...     patients,
      ... )
      >>> 0 < compared.low < compared.difference < compared.high
      True
    """
    from scipy.special import stdtrit

    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be in (0, 1).")

    def difference(weight: np.ndarray) -> np.ndarray:
        return np.asarray(second(weight), np.float64) - np.asarray(first(weight), np.float64)

    values, number = bootstrap_values(difference, groups, num_resamples=num_resamples, seed=seed)
    once = np.ones((1, len(groups)))
    scores = [np.asarray(metric(once), np.float64)[0] for metric in (first, second)]
    estimate = scores[1] - scores[0]
    rests_on = np.asarray(number if num_groups is None else num_groups)
    spread = _spread(values)
    # Of a single group there is no degree of freedom.
    quantile = stdtrit(np.maximum(rests_on - 1, 1), (1 + level) / 2)
    # Samples of a single group are all the same.
    has_none = (rests_on < 2) | ~(spread > 0)
    half = np.where(has_none, np.nan, quantile * spread)
    columns = [*scores, estimate, estimate - half, estimate + half]
    return PairedDifference(*(column if column.ndim else float(column) for column in columns))


def _spread(values: np.ndarray) -> np.ndarray:
    """Standard deviations along the first axis, NaN where too many values are undefined."""
    columns = values.reshape(len(values), -1)
    spread = np.full(columns.shape[1], np.nan)
    for index, column in enumerate(columns.T):
        defined = column[~np.isnan(column)]
        if len(defined) > 1 and len(column) - len(defined) <= MOST_UNDEFINED * len(column):
            # The same difference in every sample may differ in its last bit.
            deviation = float(defined.std(ddof=1))
            spread[index] = deviation if deviation > 1e-12 else 0.0
    return spread.reshape(values.shape[1:])
