"""Thin slices -> slabs: the mean of some consecutive slices, in Hounsfield units.

A slice of 0.6 mm has nearly three times the noise of one of 5 mm, and a series of them hundreds of
slices. Scanners reconstruct both from one scan; their mean is close to the thick one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Slices farther apart than this many times the usual distance are not averaged: one is missing.
_GAP = 1.5


def slab_groups(places_mm: Sequence[float], slab_mm: float) -> list[list[int]]:
    """Groups the slices of a pass to slabs, from the lowest on.

    Args:
      places_mm: Positions of the slices along their normal, ascending.
      slab_mm: Thickness to aim at; 0 for no slabs.

    Returns:
      Indices of the slices of each slab; the last one of a pass, and one before a gap, may be
      thinner. Slices that lie `slab_mm` or more apart stay alone.

    Examples:
      >>> slab_groups([0, 1.25, 2.5, 3.75, 5], 2.5), slab_groups([0, 5], 5)
      ([[0, 1], [2, 3], [4]], [[0], [1]])
    """
    steps = np.diff(np.asarray(places_mm, np.float64))
    spacing = float(np.median(steps)) if len(steps) else 0.0
    groups: list[list[int]] = []
    for i, place in enumerate(places_mm):
        if (
            groups
            and 0 < spacing < slab_mm
            and place - places_mm[groups[-1][0]] < slab_mm - spacing / 2
            and place - places_mm[i - 1] <= _GAP * spacing
        ):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
