"""Confidence intervals by resampling patients, whose slices stay together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.groups import group_numbers

# Number of weights in memory at once: 64 MiB.
_WEIGHTS_AT_ONCE = 1 << 23
# Largest share of resamples with an undefined statistic; above it, there is no interval.
MOST_UNDEFINED = 0.05


@dataclass(frozen=True)
class Interval:
    """A confidence interval; NaN where it is not defined.

    Attributes:
      low: Lower end, a float; float64 [k] for a statistic of k numbers.
      high: Upper end, of the same type.
    """

    low: Any
    high: Any


def bootstrap_interval(
    statistic: Callable[[np.ndarray], ArrayLike],
    groups: Sequence[Any] | np.ndarray,
    *,
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Computes the percentile interval of a statistic, by resampling groups with replacement.

    Neighbouring slices are not independent: patients are resampled, together with all of their
    slices (the cluster bootstrap; Davison and Hinkley 1997, 3.8). With fewer than about 30 patients
    the intervals are too narrow.

    Args:
      statistic: Function of weights, float64 [b, n], that returns the statistic of b samples, [b],
        or [b, k] for k numbers; slice i occurs weights[:, i] times in each sample. Every metric of
        `ich_tf.metrics` accepts such weights as its `sample_weight`.
      groups: Group of each slice, [n], such as the patient's key.
      num_resamples: Number of samples to draw; with more, the ends vary less.
      level: Confidence level, in (0, 1).
      seed: Seed of the resampling.

    Returns:
      The interval. It is NaN for a single group, which has only one sample, and if the statistic is
      undefined in more than 5 % of the samples; up to 5 % of them are ignored.

    Raises:
      ValueError: If there is no group, or a number is out of range.

    Examples:
      >>> import numpy as np
      >>> from ich_tf.metrics import roc_auc
      >>> rng = np.random.default_rng(0)
      >>> patient = np.repeat(np.arange(50), 4)
      >>> y_true = np.repeat(rng.integers(0, 2, 50), 4)
      >>> y_prob = rng.uniform(size=200) * 0.6 + 0.3 * y_true
      >>> interval = bootstrap_interval(lambda weight: roc_auc(y_true, y_prob, weight), patient)
      >>> bool(interval.low < roc_auc(y_true, y_prob) < interval.high)
      True
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be in (0, 1).")
    values, num_groups = bootstrap_values(statistic, groups, num_resamples=num_resamples, seed=seed)
    ends = np.stack([_quantile(values, (1 - level) / 2), _quantile(values, (1 + level) / 2)])
    undefined = np.isnan(values).mean(axis=0) > MOST_UNDEFINED
    ends = np.where(undefined | (num_groups == 1), np.nan, ends)
    low, high = ends if ends.ndim > 1 else ends.tolist()
    return Interval(low, high)


def bootstrap_values(
    statistic: Callable[[np.ndarray], ArrayLike],
    groups: Sequence[Any] | np.ndarray,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[np.ndarray, int]:
    """Computes a statistic of samples in which groups are drawn with replacement.

    Args:
      statistic: Function of weights, as for `bootstrap_interval`.
      groups: Group of each slice, [n].
      num_resamples: Number of samples to draw.
      seed: Seed of the resampling: the same groups and seed give the same samples.

    Returns:
      Statistic of each sample, float64 [num_resamples] or [num_resamples, k], and the number of
      groups.

    Raises:
      ValueError: If there is no group or no sample, or the group of a slice is missing.
    """
    member = group_numbers(groups)
    if not len(member):
        raise ValueError("groups is empty; expected a group for each slice.")
    if num_resamples < 1:
        raise ValueError(f"num_resamples is {num_resamples}; it must be 1 or more.")
    num_groups = int(member.max()) + 1
    rng = np.random.default_rng(seed)
    at_once = max(1, _WEIGHTS_AT_ONCE // len(member))
    samples = []
    for start in range(0, num_resamples, at_once):
        rows = min(at_once, num_resamples - start)
        counts = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=rows)
        samples.append(np.asarray(statistic(counts[:, member].astype(np.float64)), np.float64))
    return np.concatenate(samples), num_groups


def _quantile(values: np.ndarray, share: float) -> np.ndarray:
    """`np.nanquantile` along the first axis, without a warning about columns of NaN alone."""
    columns = values.reshape(len(values), -1)
    ends = np.full(columns.shape[1], np.nan)
    for index, column in enumerate(columns.T):
        defined = column[~np.isnan(column)]
        if len(defined):
            # Between two infinite values, as of distances, NumPy interpolates to NaN.
            low = np.quantile(defined, share, method="lower")
            high = np.quantile(defined, share, method="higher")
            ends[index] = low if low == high else np.quantile(defined, share)
    return ends.reshape(values.shape[1:])
