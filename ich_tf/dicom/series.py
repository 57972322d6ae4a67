"""Slices -> series in the order of the body.

Slices are ordered by the projection of their position on the series' normal: raw z can
misorder a tilted series, RSNA's file names are random, and its instance numbers are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from ich_tf.dicom.header import Header


class HasHeader(Protocol):
    """Anything that carries a slice's header."""

    @property
    def header(self) -> Header:
        """Where the slice is."""


Item = TypeVar("Item", bound=HasHeader)


def group_by_series(items: Iterable[Item]) -> dict[tuple[str, str, str], list[Item]]:
    """Items by (patient, study, series), sorted by these; each list ordered as `order`."""
    groups: dict[tuple[str, str, str], list[Item]] = {}
    for item in items:
        header = item.header
        groups.setdefault((header.patient_id, header.study_id, header.series_id), []).append(item)
    return {key: order(groups[key]) for key in sorted(groups)}


def order(items: Sequence[Item]) -> list[Item]:
    """The items of one series along its normal; equal positions by image id."""
    normal = series_normal([item.header for item in items])
    return sorted(
        items, key=lambda item: (position_along(item.header, normal), item.header.image_id)
    )


def series_normal(headers: Sequence[Header]) -> np.ndarray:
    """The mean unit normal of a series' slices, float64 [3]."""
    mean = np.mean([header.normal for header in headers], axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def position_along(header: Header, normal: np.ndarray) -> float:
    """Where the slice lies along `normal`, mm.

    Rounded to 1 um, so that headers that differ in their last digit keep one order.
    """
    return round(float(np.dot(header.position_mm, normal)), 3)


def count_gaps(positions_mm: Sequence[float]) -> int:
    """Steps that are half as long again as both their neighbours: where slices are missing.

    A change of slice distance within a series, as from 4 to 7 mm, is no gap.

    Args:
      positions_mm: Of a series' slices, ascending.
    """
    steps = np.diff(np.asarray(positions_mm, np.float64))
    if len(steps) < 2:
        return 0
    before, after = np.roll(steps, 1), np.roll(steps, -1)
    before[0], after[-1] = steps[1], steps[-2]
    return int(np.sum(steps > 1.5 * np.maximum(before, after)))


def count_duplicates(positions_mm: Sequence[float]) -> int:
    """Slices that lie where the one before them lies, to a hundredth of a millimetre."""
    return int(np.sum(np.diff(np.asarray(positions_mm, np.float64)) < 0.01))
