"""Thin slices -> slabs: the mean of some consecutive slices, in Hounsfield units.

A slice of 0.6 mm has nearly three times the noise of one of 5 mm, and a series of them hundreds of
slices. Scanners reconstruct both from one scan; their mean is close to the thick one.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

import numpy as np

from ich_tf.dicom.header import Header

# Slices farther apart than this many times the usual distance are not averaged: one is missing.
_GAP = 1.5
# Difference of two numbers of a geometry that are the same, mm and of unit vectors.
_SAME_MM, _SAME_AXES = 1e-3, 1e-3


def slab_groups(
    places_mm: Sequence[float], slab_mm: float, seams: Collection[int] = ()
) -> list[list[int]]:
    """Groups the slices of a pass to slabs, from the lowest on.

    Args:
      places_mm: Positions of the slices along their normal, ascending.
      slab_mm: Thickness to aim at; 0 for no slabs.
      seams: Slices whose pixels do not lie on those of the slice before (`seams_of`).

    Returns:
      Indices of the slices of each slab; the last one of a pass, and one before a gap or seam, may
      be thinner. Slices that lie `slab_mm` or more apart stay alone.

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
            and i not in seams
            and 0 < spacing < slab_mm
            and place - places_mm[groups[-1][0]] < slab_mm - spacing / 2
            and place - places_mm[i - 1] <= _GAP * spacing
        ):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def seams_of(headers: Sequence[Header]) -> set[int]:
    """Slices of a pass whose pixels do not lie on those of the slice before.

    They are turned, mirrored, of another field of view or number of pixels, or moved sideways: by
    more than a pixel and than the distance along the normal, which a tilted gantry does not reach.

    Args:
      headers: Headers of the slices, in their order along the normal.
    """
    return {i for i, (one, two) in enumerate(itertools.pairwise(headers), 1) if not _fit(one, two)}


def _fit(one: Header, two: Header) -> bool:
    if (one.rows, one.columns) != (two.rows, two.columns):
        return False
    if not np.allclose(one.spacing_mm, two.spacing_mm, rtol=0, atol=_SAME_MM):
        return False
    if not np.allclose(one.orientation, two.orientation, rtol=0, atol=_SAME_AXES):
        return False
    step = np.subtract(two.position_mm, one.position_mm)
    along = float(np.dot(step, one.normal))
    sideways = float(np.linalg.norm(step - along * one.normal))
    return sideways <= max(abs(along), *one.spacing_mm)
