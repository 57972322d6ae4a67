"""How often each subtype leads: weights by name, and whole numbers in proportion to them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ich_tf.labels import SUBTYPES
from ich_tf.runtime.options import require


def parse_shares(items: Sequence[str], name: str = "subtype_shares") -> tuple[float, ...]:
    """Reads weights of subtypes.

    Args:
      items: Texts `subtype=weight`; a subtype that is left out has the weight 0.
      name: Name of the option, for the message of an error.

    Returns:
      Share of each of `SUBTYPES`; the sum is 1.

    Raises:
      ConfigError: If an item is none, or no weight is above 0.

    Examples:
      >>> parse_shares(["subdural=3", "epidural=1"])
      (0.25, 0.0, 0.0, 0.0, 0.75)
    """
    weights = dict.fromkeys(SUBTYPES, 0.0)
    for item in items:
        subtype, _, text = str(item).partition("=")
        try:
            weight = float(text)
        except ValueError:
            weight = -1.0
        require(
            subtype.strip() in weights and math.isfinite(weight) and weight >= 0,
            name,
            item,
            f"subtype=weight with a weight of 0 or more and one of {', '.join(SUBTYPES)}",
        )
        weights[subtype.strip()] = weight
    total = sum(weights.values())
    require(total > 0, name, items, "above 0 for one at least")
    return tuple(weights[subtype] / total for subtype in SUBTYPES)


def apportion(shares: Sequence[float], total: int) -> list[int]:
    """Integers of the sum `total` in proportion to `shares`, by the largest remainders.

    Examples:
      >>> apportion((0.5, 0.25, 0.25), 5)
      [3, 1, 1]
    """
    exact = np.array(shares) * total
    counts = np.floor(exact).astype(int)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return [int(count) for count in counts]
