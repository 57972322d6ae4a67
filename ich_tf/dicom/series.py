"""Slices -> series, ordered from the feet to the head.

Slices are ordered by the projection of their position on the series' normal: raw z can misorder a
tilted series, RSNA's file names are random, and its instance numbers were removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from ich_tf.dicom.header import Header


class HasHeader(Protocol):
    """Any object with the header of a slice."""

    @property
    def header(self) -> Header:
        """Header of the slice."""


Item = TypeVar("Item", bound=HasHeader)


def group_by_series(items: Iterable[Item]) -> dict[tuple[str, str, str], list[Item]]:
    """Groups items by series.

    Args:
      items: Objects with a header, of any number of series, in any order.

    Returns:
      (patient, study, series) -> the items of the series in the order of `order`; sorted by key.
    """
    groups: dict[tuple[str, str, str], list[Item]] = {}
    for item in items:
        header = item.header
        groups.setdefault((header.patient_id, header.study_id, header.series_id), []).append(item)
    return {key: order(groups[key]) for key in sorted(groups)}


def order(items: Sequence[Item]) -> list[Item]:
    """Sorts the items of one series along its normal; those at equal positions by image id."""
    normal = series_normal([item.header for item in items])
    return sorted(
        items, key=lambda item: (position_along(item.header, normal), item.header.image_id)
    )


def series_normal(headers: Sequence[Header]) -> np.ndarray:
    """Mean unit normal of a series' slices, float64 [3]."""
    mean = np.mean([header.normal for header in headers], axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def position_along(header: Header, normal: np.ndarray) -> float:
    """Position of a slice along `normal`, mm.

    Rounded to 1 um, so that headers that differ in the last digit have a stable order.
    """
    return round(float(np.dot(header.position_mm, normal)), 3)


def count_gaps(positions_mm: Sequence[float]) -> int:
    """Number of steps that are more than 1.5 times both neighbouring steps: missing slices.

    A change of slice distance within a series, as from 4 to 7 mm, is no gap.

    Args:
      positions_mm: Positions of a series' slices along its normal, ascending.

    Examples:
      >>> count_gaps([0, 5, 10, 20, 25]), count_gaps([0, 4, 8, 15, 22])
      (1, 0)
    """
    steps = np.diff(np.asarray(positions_mm, np.float64))
    if len(steps) < 2:
        return 0
    previous, following = np.roll(steps, 1), np.roll(steps, -1)
    previous[0], following[-1] = steps[1], steps[-2]
    return int(np.sum(steps > 1.5 * np.maximum(previous, following)))


def count_duplicates(positions_mm: Sequence[float]) -> int:
    """Number of slices at the position of the slice before, to a hundredth of a millimetre.

    Args:
      positions_mm: Positions of a series' slices along its normal, ascending.
    """
    return int(np.sum(np.diff(np.asarray(positions_mm, np.float64)) < 0.01))
