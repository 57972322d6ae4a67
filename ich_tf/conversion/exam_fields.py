"""Labels of a planned slice and of its exam, as its record holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ich_tf.conversion.plan import PlannedSlice
from ich_tf.labels import CLASSES
from ich_tf.records.exam_statistics import ExamStatistics
from ich_tf.records.schema import EXAM_SCHEMA_VERSION, SliceRecord

_NO_LABELS = (0,) * len(CLASSES)


def stored_labels(labels: Sequence[int | None] | None) -> tuple[int, ...]:
    """Labels of a record: 0 where they are unknown, which `labels_known` tells from absent.

    Examples:
      >>> stored_labels((0, 1, None, 0, 0, 1)), stored_labels(None)
      ((0, 1, 0, 0, 0, 1), (0, 0, 0, 0, 0, 0))
    """
    return tuple(label or 0 for label in labels) if labels is not None else _NO_LABELS


def known_bits(labels: Sequence[int | None] | None) -> int:
    """Bits of the classes whose label is known.

    Examples:
      >>> known_bits((0, 1, None, 0, 0, 1)), known_bits(None)
      (59, 0)
    """
    return sum(1 << k for k, label in enumerate(labels or ()) if label is not None)


def exam_fields(planned: PlannedSlice) -> dict[str, Any]:
    """Fields of a record that only conversions with labels of exams, or unknown ones, write."""
    if not planned.exam_labels:
        return {}
    return {
        "labels_known": known_bits(planned.labels),
        "exam_labels": tuple(math.nan if value is None else value for value in planned.exam_labels),
        "label_level": planned.label_level,
        "schema_version": EXAM_SCHEMA_VERSION,
    }


def exam_differences(record: SliceRecord, planned: PlannedSlice) -> list[str]:
    """Names of the fields of `exam_fields` in which a record differs from the plan."""
    expected = exam_fields(planned)
    if not expected:
        return ["exam_labels"] if record.exam_labels else []
    wrong = [
        name
        for name in ("labels_known", "label_level", "schema_version")
        if getattr(record, name) != expected[name]
    ]
    values = np.asarray(expected["exam_labels"], np.float32)
    stored = np.asarray(record.exam_labels, np.float32)
    return wrong if np.array_equal(stored, values, equal_nan=True) else [*wrong, "exam_labels"]


class LabelCount:
    """Counts the labels of records, one after the other, as their sidecar has them."""

    def __init__(self) -> None:
        """Has counted none yet."""
        self._parts: list[ExamStatistics] = []
        self._series: set[str] = set()

    def add(self, record: SliceRecord) -> None:
        """Counts a record, and its exam if it is the first of it."""
        if not record.exam_labels:
            return
        labels = [
            label if record.labels_known >> k & 1 else None for k, label in enumerate(record.labels)
        ]
        parts = [ExamStatistics.of_slice(labels)]
        if record.series_key not in self._series:
            self._series.add(record.series_key)
            exam = [None if math.isnan(value) else value for value in record.exam_labels]
            parts.append(ExamStatistics.of_exam(exam, record.label_level))
        self._parts = [ExamStatistics.total([*self._parts, *parts])]

    def statistics(self) -> ExamStatistics | None:
        """Sums over all records; None if none has labels of exams."""
        return self._parts[0] if self._parts else None
