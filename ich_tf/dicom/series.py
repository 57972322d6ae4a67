"""Slices -> series, ordered from the feet to the head.

Slices are ordered by the projection of their position on the series' normal: raw z can misorder a
tilted series, RSNA's file names are random, and its instance numbers were removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from ich_tf.dicom.geometry import order_along
from ich_tf.dicom.header import Header
from ich_tf.dicom.passes import split


class HasHeader(Protocol):
    """Any object with the header of a slice."""

    @property
    def header(self) -> Header:
        """Header of the slice."""


Item = TypeVar("Item", bound=HasHeader)


def group_by_series(items: Iterable[Item]) -> dict[tuple[str, str, str], list[Item]]:
    """Groups items by series, and a series UID with several passes by pass.

    Args:
      items: Objects with a header, of any number of series, in any order.

    Returns:
      (patient, study, series) -> the items of the series along its normal; studies are sorted by
      their ids, series by theirs. The first pass of a series has the series' own id, further ones
      have those of `pass_id`.
    """
    groups: dict[tuple[str, str, str], list[Item]] = {}
    for item in items:
        header = item.header
        groups.setdefault((header.patient_id, header.study_id, header.series_id), []).append(item)
    return {
        (patient, study, pass_id(series, number)): members
        for patient, study, series in sorted(groups)
        for number, members in enumerate(passes_of(groups[patient, study, series]), 1)
    }


def passes_of(items: Sequence[Item]) -> list[list[Item]]:
    """Splits the items of one series UID into its passes, each in its order along its normal."""
    return [[items[i] for i in pass_] for pass_ in split([item.header for item in items])]


def pass_id(series_id: str, number: int) -> str:
    """Id of a pass of a series: the series' own for the first, `<id>/<number>` for others.

    Args:
      series_id: Series instance UID.
      number: Number of the pass, from 1.

    Examples:
      >>> pass_id("1.2.3", 1), pass_id("1.2.3", 2)
      ('1.2.3', '1.2.3/2')
    """
    return series_id if number == 1 else f"{series_id}/{number}"


def pass_of(series_id: str) -> tuple[str, int]:
    """Series instance UID and number of the pass of an id that `pass_id` made.

    Examples:
      >>> pass_of("1.2.3"), pass_of("1.2.3/2")
      (('1.2.3', 1), ('1.2.3', 2))
    """
    uid, _, number = series_id.rpartition("/")
    return (uid, int(number)) if uid and number.isdecimal() else (series_id, 1)


def order(items: Sequence[Item]) -> list[Item]:
    """Sorts the items of one pass along its normal; those at equal positions by image id."""
    return [items[i] for i in order_along([item.header for item in items])]


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
