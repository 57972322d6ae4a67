"""Groups of slices, such as the patients whose they are, by number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def group_numbers(groups: Sequence[Any] | np.ndarray, name: str = "groups") -> np.ndarray:
    """Numbers groups from 0, in their order.

    Args:
      groups: Group of each slice, [n]: numbers, texts, or tuples.
      name: Name of the argument, for the error.

    Returns:
      int64 [n].

    Raises:
      ValueError: If one is missing (None or NaN), or they cannot be ordered.

    Examples:
      >>> group_numbers(["b", "a", "b"]).tolist(), group_numbers([(1, 2), (0, 9)]).tolist()
      ([1, 0, 1], [1, 0])
    """
    values = _objects(groups)
    if values.ndim != 1:
        raise ValueError(f"{name} has shape {values.shape}; expected (n,), a group for each slice.")
    missing = sum(map(_is_missing, values.tolist()))
    if missing:
        raise ValueError(
            f"{name} lacks {missing} of {len(values)}: a missing value is no group. Leave these "
            "slices out."
        )
    try:
        return np.asarray(np.unique(values, return_inverse=True)[1])
    except TypeError as error:
        raise ValueError(f"{name} mixes kinds of values: {error}.") from error


def _is_missing(value: Any) -> bool:
    # Of pandas, which is not imported for it: NA and NaT.
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def _objects(groups: Sequence[Any] | np.ndarray) -> np.ndarray:
    """An array of what is given; tuples stay tuples."""
    members = list(groups)
    if not any(isinstance(member, tuple) for member in members):
        return np.asarray(groups)
    values = np.empty(len(members), object)
    values[:] = members
    return values
