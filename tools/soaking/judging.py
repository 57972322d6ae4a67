"""Whether a value that was sampled stays flat under constant load.

The first third of a run is its warm-up: pools of threads and memory fill, and retention has not
begun to delete. Then the median of the last third is held against that of the middle third.
A median takes no notice of single peaks, and under constant load nothing else grows from one
third to the next but what is never given back. Nothing here is a time, so that a busy machine
judges as a fast one does.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# With fewer samples in a third its median says too little.
MIN_SAMPLES = 4


@dataclass(frozen=True)
class Bound:
    """Largest growth of a value from the middle third to the last.

    Attributes:
      unit: Unit of the value.
      absolute: Growth that is allowed at any level, in the value's unit.
      relative: Growth that is allowed beside it, as a share of the middle third's median.
    """

    unit: str
    absolute: float
    relative: float = 0.0

    def allows(self, level: float) -> float:
        """Largest growth from a level.

        Examples:
          >>> Bound("MiB", 16, 0.02).allows(500)
          26.0
        """
        return self.absolute + self.relative * level


# By the name of a value of `sampling.sample`; values without a bound are reported only.
BOUNDS = {
    # That of the first process, which holds the model, is steadier than the sum with its children.
    "own_rss": Bound("MiB", 12, 0.01),
    "rss": Bound("MiB", 24, 0.02),
    "pss": Bound("MiB", 24, 0.02),
    "handles": Bound("", 4),
    "threads": Bound("", 4),
    "processes": Bound("", 0),
    "zombies": Bound("", 0),
    "close_wait": Bound("", 1),
    "state_mib": Bound("MiB", 16, 0.2),
    "state_files": Bound("", 96, 0.1),
    "spool_mib": Bound("MiB", 1),
    "spool_files": Bound("", 2),
    "temporary_mib": Bound("MiB", 1, 0.1),
    "temporary_files": Bound("", 4, 0.1),
    "database_mib": Bound("MiB", 0.5, 0.1),
}


@dataclass(frozen=True)
class Verdict:
    """What became of one value of one service.

    Attributes:
      service: Name of the service.
      value: Name of the value.
      unit: Its unit.
      first: Median of the first third, the warm-up.
      middle: Median of the middle third.
      last: Median of the last third.
      peak: Greatest sample.
      allowed: Largest growth from the middle to the last third; infinite if it is not judged.
    """

    service: str
    value: str
    unit: str
    first: float
    middle: float
    last: float
    peak: float
    allowed: float

    @property
    def growth(self) -> float:
        """Growth from the middle third to the last; below 0 if it shrank."""
        return self.last - self.middle

    @property
    def is_flat(self) -> bool:
        """Whether it grew no further than allowed."""
        return self.growth <= self.allowed

    def cells(self) -> list[str]:
        """Medians, peak, growth and what is allowed, as cells of a table."""
        numbers = (self.first, self.middle, self.last, self.peak)
        allowed = "" if math.isinf(self.allowed) else f"{self.allowed:.1f}"
        return [*(f"{number:.1f}" for number in numbers), f"{self.growth:+.1f}", allowed]

    def word(self) -> str:
        """The verdict in a word."""
        if math.isinf(self.allowed):
            return "not judged"
        return "flat" if self.is_flat else "GROWS"

    def text(self, requests: int = 0) -> str:
        """What is wrong, with figures.

        Args:
          requests: Number of requests between the middles of the two thirds; 0 if unknown.
        """
        unit = f" {self.unit}" if self.unit else ""
        text = (
            f"{self.service}: {self.value} grew from {self.middle:.1f} to {self.last:.1f}{unit} "
            f"(medians of the middle and the last third), by {self.growth:.1f}; "
            f"{self.allowed:.1f} is allowed"
        )
        if requests:
            text += f"; {1000 * self.growth / requests:.2f}{unit} in 1000 requests"
        return text + "."


def judge(service: str, value: str, samples: Sequence[float]) -> Verdict:
    """Judges the samples of one value.

    Args:
      service: Name of the service.
      value: Name of the value.
      samples: Samples at even distances, `3 * MIN_SAMPLES` or more.

    Raises:
      ValueError: If there are fewer.
    """
    if len(samples) < 3 * MIN_SAMPLES:
        raise ValueError(
            f"{service}: {value} has {len(samples)} samples; {3 * MIN_SAMPLES} are needed. Run "
            "longer, or sample more often."
        )
    ends = [round(len(samples) * part / 3) for part in range(4)]
    first, middle, last = (
        statistics.median(samples[begin:end]) for begin, end in itertools.pairwise(ends)
    )
    bound = BOUNDS.get(value, Bound("MiB" if value.endswith(("_mib", "rss")) else "", math.inf))
    return Verdict(
        service, value, bound.unit, first, middle, last, max(samples), bound.allows(middle)
    )


def judge_all(values: Mapping[str, Mapping[str, Sequence[float]]]) -> list[Verdict]:
    """Judges all values of all services.

    Args:
      values: Name of the service -> name of the value -> its samples.

    Raises:
      ValueError: If there are too few samples.
    """
    return [
        judge(service, value, samples)
        for service, each in values.items()
        for value, samples in each.items()
    ]
