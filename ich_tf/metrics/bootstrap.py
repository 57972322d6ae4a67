"""How sure a number is: intervals by resampling patients, whose slices go together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# Weights of so many samples are held at once: 64 MiB.
_WEIGHTS_AT_ONCE = 1 << 23
# A statistic that more resamples than this lack has no interval.
_MOST_UNDEFINED = 0.05


@dataclass(frozen=True)
class Interval:
    """A confidence interval; NaN where it is not defined.

    Attributes:
      low, high: Its ends: floats, or float64 [k] for a statistic of k numbers.
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
    """The percentile interval of a statistic when groups are drawn anew with replacement.

    A slice tells little that its neighbour did not: patients are resampled, and their slices go
    with them (the cluster bootstrap; Davison and Hinkley 1997, 3.8). Too few patients, below 30
    or so, give intervals that are too narrow.

    Args:
      statistic: (weights float64 [b, n]) -> [b], or [b, k] for k numbers: the statistic of b
        samples, in which slice i stands weights[:, i] times. Every metric of `ich_tf.metrics` that
        takes `sample_weight` takes these.
      groups: [n], whose slice each is, as the patient's key.
      num_resamples: More give steadier ends.
      level: Of confidence, in (0, 1).
      seed: Of the draws.

    Returns:
      The interval. NaN for a single group, of which nothing can be drawn but itself, and where more
      than 5 % of the resamples leave the statistic undefined; a few of them are passed over.

    Raises:
      ValueError: If there is no group, or a number is out of range.

    Example:
      >>> import numpy as np
      >>> from ich_tf.metrics import roc_auc
      >>> rng = np.random.default_rng(0)
      >>> patient = np.repeat(np.arange(50), 4)
      >>> y_true = np.repeat(rng.integers(0, 2, 50), 4)
      >>> y_prob = rng.uniform(size=200) * 0.6 + 0.3 * y_true
      >>> found = bootstrap_interval(lambda weight: roc_auc(y_true, y_prob, weight), patient)
      >>> bool(found.low < roc_auc(y_true, y_prob) < found.high)
      True
    """
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    if not len(member):
        raise ValueError("groups is empty; expected a group for each slice.")
    if num_resamples < 1:
        raise ValueError(f"num_resamples is {num_resamples}; it must be 1 or more.")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be in (0, 1).")
    number = int(member.max()) + 1
    rng = np.random.default_rng(seed)
    at_once = max(1, _WEIGHTS_AT_ONCE // len(member))
    found = []
    for start in range(0, num_resamples, at_once):
        rows = min(at_once, num_resamples - start)
        counts = rng.multinomial(number, np.full(number, 1 / number), size=rows)
        found.append(np.asarray(statistic(counts[:, member].astype(np.float64)), np.float64))
    values = np.concatenate(found)
    ends = np.stack([_quantile(values, (1 - level) / 2), _quantile(values, (1 + level) / 2)])
    undefined = np.isnan(values).mean(axis=0) > _MOST_UNDEFINED
    ends = np.where(undefined | (number == 1), np.nan, ends)
    low, high = ends if ends.ndim > 1 else ends.tolist()
    return Interval(low, high)


def _quantile(values: np.ndarray, share: float) -> np.ndarray:
    """`np.nanquantile` along the first axis, without its warning of columns that are all NaN."""
    columns = values.reshape(len(values), -1)
    ends = np.full(columns.shape[1], np.nan)
    for number, column in enumerate(columns.T):
        defined = column[~np.isnan(column)]
        if len(defined):
            ends[number] = np.quantile(defined, share)
    return ends.reshape(values.shape[1:])
