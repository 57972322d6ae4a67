"""Extents of slices: the length of the body that each slice of a series stands for.

Every volume of the project is a sum of areas times these lengths: those of records, of predictions,
of thresholds and of scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# Slices nearer than this are copies of one plane.
_SAME_PLACE_MM = 0.01


def slice_extents_mm(places_mm: ArrayLike, thickness_mm: float = 0.0) -> np.ndarray:
    """Computes the length along the normal that each slice stands for.

    A slice stands for half of the way to both its neighbours: overlapping slices count no tissue
    twice, and a missing slice is bridged. Beyond the first and the last plane it is as much as on
    their other side, but not more than half of the usual distance, since behind a gap there is no
    more tissue than elsewhere. Copies of a plane share its length.

    Args:
      places_mm: Positions of the slices along their normal, [n], in any order.
      thickness_mm: Thickness of the slices, which counts for a single plane alone; 0 if unknown.

    Returns:
      float64 [n], in the order of the slices; NaN for a single plane of unknown thickness.

    Examples:
      >>> slice_extents_mm([0, 5, 10, 20]).tolist(), slice_extents_mm([0, 5, 5, 10]).tolist()
      ([5.0, 5.0, 7.5, 7.5], [5.0, 2.5, 2.5, 5.0])
      >>> slice_extents_mm([7], 4.0).tolist(), slice_extents_mm([7]).tolist()
      ([4.0], [nan])
    """
    places = np.asarray(places_mm, np.float64)
    if not len(places):
        return places
    order = np.argsort(places, kind="stable")
    planes, plane_of = planes_of(places[order])
    if len(planes) == 1:
        lengths = np.array([thickness_mm or np.nan])
    else:
        steps = np.diff(planes)
        first, last = end_steps_mm(steps)
        lengths = (np.append(first, steps) + np.append(steps, last)) / 2
    extents = np.empty(len(places))
    extents[order] = lengths[plane_of] / np.bincount(plane_of)[plane_of]
    return extents


def planes_of(places_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the planes of slices, some of which may be copies.

    Args:
      places_mm: Positions along the normal, ascending, float64 [n].

    Returns:
      Position of each plane, and the number of each slice's plane, [n].
    """
    is_new = np.append(True, np.diff(places_mm) >= _SAME_PLACE_MM)
    return places_mm[is_new], np.cumsum(is_new) - 1


def end_steps_mm(steps_mm: np.ndarray) -> tuple[float, float]:
    """Distances to the planes that would follow before the first plane and after the last one.

    Args:
      steps_mm: Distances between neighbouring planes, one or more.

    Returns:
      The first and the last of them, but not more than their median (the lower of two): behind a
      gap, the next plane would come sooner.
    """
    usual = float(np.percentile(steps_mm, 50, method="lower"))
    return min(float(steps_mm[0]), usual), min(float(steps_mm[-1]), usual)
