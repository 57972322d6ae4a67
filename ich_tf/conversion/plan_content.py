"""Lines of plan.json, checked: a folder may be a stranger's, and a repair does as its plan says."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from ich_tf.labels import CLASSES
from ich_tf.runtime.json_types import quoted, read_fields, read_value


@dataclass(frozen=True)
class ExamContent:
    """Labels of an exam, and their level."""

    labels: tuple[float | None, ...]
    level: str


@dataclass(frozen=True)
class SeriesContent:
    """A series; `slices` are rows as `PlannedSeries.pack` writes them."""

    keys: tuple[str, str, str]
    slices: list[Any]
    exam: ExamContent | None = None


@dataclass(frozen=True)
class ShardContent:
    """A shard."""

    name: str
    split: str
    series: tuple[SeriesContent, ...]


def loads(text: str) -> Any:
    """Parses a line, in C: RSNA's plan has 752,803 rows.

    Raises:
      ValueError: If it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_shard(text: str) -> ShardContent:
    """Reads the line of a shard.

    Raises:
      ValueError: If it is no such line.
    """
    shard = read_fields(ShardContent, loads(text))
    for series in shard.series:
        if series.exam is not None:
            labels = series.exam.labels
            if len(labels) != len(CLASSES):
                raise ValueError("the labels of an exam are not six")
            if not all(label is None or 0 <= label <= 1 for label in labels):
                raise ValueError("the labels of an exam are neither in [0, 1] nor unknown")
        for row in series.slices:
            _check_row(row)
    return shard


# Types of the values of a row; rows of former versions, or without masks, end earlier.
_TYPES: tuple[tuple[type, ...], ...] = (
    (str,),
    (int,),
    (str,),
    (float, int),
    (list, type(None)),
    (list,),
    (list,),
    (list,),
    (str,),
    (int,),
    (list,),
)
# Least number of values of a row.
_LEAST = 6
_LABELS = frozenset((0, 1, None))
# Place and type of lists that are mostly empty.
_LISTS = (
    (6, list[str]),
    (7, list[tuple[str, int, str]]),
    (10, list[tuple[str, str, int]]),
)


def _check_row(row: Any) -> None:
    if type(row) is not list or not _LEAST <= len(row) <= len(_TYPES):
        raise ValueError(f"the row of a slice is {quoted(row)}")
    if not all(type(value) in types for value, types in zip(row, _TYPES, strict=False)):
        raise ValueError("the row of a slice has values of other types")
    number, z_mm, labels, crop = row[1], row[3], row[4], row[5]
    if labels is not None:
        known = [label for label in labels if type(label) is int]
        if len(labels) != len(CLASSES) or len(known) + labels.count(None) != len(labels):
            raise ValueError("the labels of a slice are not six")
        if not _LABELS.issuperset(known):
            raise ValueError("the labels of a slice are neither 0, 1 nor unknown")
    if number < 0 or not abs(z_mm) < math.inf or (crop and [*map(type, crop)] != [int] * 4):
        raise ValueError("the frame, position or crop of a slice is none")
    for place, kind in _LISTS:
        if len(row) > place and row[place]:
            read_value(kind, row[place], "the row of a slice")


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no finite number")
