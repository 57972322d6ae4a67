"""Labels of exams in a plan: each chosen series with its own, and what contradicts itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ich_tf.conversion.exam_labelling import AMBIGUOUS, MISSING, row_rejection
from ich_tf.conversion.exam_matching import ExamMatches, SeriesKey
from ich_tf.conversion.plan import PlannedSeries, PlannedSlice
from ich_tf.dicom.reasons import Reason, Rejection
from ich_tf.dicom.series import pass_of
from ich_tf.labels import CLASSES
from ich_tf.labels.classes import POSITIVE_SHARE
from ich_tf.labels.unknown import contradictions
from ich_tf.records.exam_labels import exam_of_slices
from ich_tf.records.schema import LABEL_LEVELS

_COUNT = len(CLASSES)


@dataclass(frozen=True, eq=False)
class _Given:
    """Labels of an exam as they were given.

    Attributes:
      values: Labels, float64 [6]; NaN where unknown.
      level: Smallest level of the rows; empty without any.
      place: Words for the rows.
    """

    values: np.ndarray
    level: str = ""
    place: str = ""


class PlannedExams:
    """Gives the planned series the labels of their exams.

    Attributes:
      rejections: Slices that are left out for their exam's labels, and rows that belong to several
        series.
      num_shared: Number of these rows.
    """

    def __init__(
        self,
        exams: ExamMatches,
        hash_key: bytes = b"",
        is_cut: Callable[[SeriesKey], bool] = lambda key: False,
    ) -> None:
        """Has planned no series yet.

        Args:
          exams: Rows of labels of exams, and what they name.
          is_cut: Function that tells of a series' ids whether slices of it were left out: what the
            others lack, the exam may have.
          hash_key: Secret under which ids are hashed; empty for the public key.
        """
        self._exams = exams
        self._hash_key = hash_key
        self._is_cut = is_cut
        self._doubtful = frozenset[SeriesKey]().union(*exams.ambiguous.values())
        self.rejections: list[Rejection] = []
        self.num_shared = 0

    def settle(self, planned: Sequence[tuple[SeriesKey, PlannedSeries]]) -> Iterator[PlannedSeries]:
        """Yields the planned series that are not left out, with the labels of their exams.

        A label that would belong to several of them belongs to none.

        Args:
          planned: Ids of patient, study and series (or pass), and the series, of all that are
            chosen.
        """
        keys = [self._key(ids) for ids, _ in planned]
        counts = Counter(row for key in keys for row in self._exams.by_series.get(key, ()))
        shared = {row for row, count in counts.items() if count > 1}
        self.num_shared = len(shared)
        for row in sorted(shared):
            complaint = (
                f"is a label of a {self._exams.exams[row].level}, of which {counts[row]} series "
                "are converted; expected one. Give --series so that one is chosen, or a label for "
                "each series."
            )
            self.rejections.append(
                row_rejection(
                    self._exams.rows, row, Reason.LABEL_AMBIGUOUS, complaint, self._hash_key
                )
            )
        for key, (_, series) in zip(keys, planned, strict=True):
            settled = self._settled(key, series, shared)
            if settled is not None:
                yield settled

    def _key(self, ids: SeriesKey) -> SeriesKey:
        """Ids of the series whose pass may be meant."""
        patient, study, series = ids
        if ids in self._exams.by_series:
            return ids
        return patient, study, pass_of(series)[0]

    def _settled(
        self, key: SeriesKey, series: PlannedSeries, shared: set[int]
    ) -> PlannedSeries | None:
        slices = list(series.slices())
        labels = np.array([_values(slice_.labels) for slice_ in slices], np.float64)
        if self._is_cut(key):
            labels = np.vstack([labels, _values(None)])
        rows = self._exams.by_series.get(key, ())
        mine = [row for row in rows if row not in shared]
        try:
            given = self._given(mine)
            of_slices = exam_of_slices(labels).astype(np.float64)
            values = np.where(np.isnan(given.values), of_slices, given.values)
            _check(given, labels, values)
        except _ContradictionError as error:
            self._reject(slices, Reason.LABEL_CONFLICT, str(error))
            return None
        level = given.level or ("slice" if not np.isnan(of_slices).all() else "")
        kept = slices
        if np.isnan(values).all():
            kept = [slice_ for slice_ in slices if slice_.labels is not None]
            lost = [slice_ for slice_ in slices if slice_.labels is None]
            if key in self._doubtful or len(mine) < len(rows):
                self._reject(lost, Reason.LABEL_AMBIGUOUS, AMBIGUOUS)
            elif mine:
                place = self._exams.rows.place(mine[0])
                message = f"{place} names its exam, and all of its labels are unknown."
                self._reject(lost, Reason.LABEL_MISSING, message)
            else:
                self._reject(lost, Reason.LABEL_MISSING, MISSING)
        if not kept:
            return None
        if len(kept) < len(slices):
            series = PlannedSeries.pack(series.keys, kept)
        return replace(series, exam_labels=_tuple(values), label_level=level)

    def _given(self, rows: Sequence[int]) -> _Given:
        """Labels of the rows of an exam, joined.

        Raises:
          _ContradictionError: If a row is faulty, or two contradict each other.
        """
        source = self._exams.rows
        values = np.full(_COUNT, np.nan)
        for row in rows:
            if row in source.conflicts:
                raise _ContradictionError(f"{source.place(row)}: {source.conflicts[row]}.")
            other = source.values[row]
            differ = np.flatnonzero(~np.isnan(values) & ~np.isnan(other) & (values != other))
            if len(differ):
                names = ", ".join(CLASSES[k] for k in differ)
                places = " and ".join(map(source.place, rows))
                raise _ContradictionError(
                    f"{places} speak of its exam, and have different labels for {names}."
                )
            values = np.where(np.isnan(values), other, values)
        for words in contradictions(values[None]).values():
            places = " and ".join(map(source.place, rows))
            raise _ContradictionError(f"{places} speak of its exam, and together {words}.")
        if np.isnan(values).all():
            return _Given(values)
        levels = [self._exams.exams[row].level for row in rows]
        place = " and ".join(f"{source.quoted(row, self._hash_key)}".rstrip(",") for row in rows)
        return _Given(values, min(levels, key=LABEL_LEVELS.index), place)

    def _reject(self, slices: Sequence[PlannedSlice], reason: Reason, message: str) -> None:
        self.rejections += [
            Rejection(part.path, "plan", reason.value, message)
            for slice_ in slices
            for part in slice_.parts()
        ]


def with_exam(series: PlannedSeries) -> PlannedSeries:
    """A series with labels of its exam; those that its slices tell where it has none."""
    if series.exam_labels:
        return series
    return replace(series, **_of_slices(exam_of_slices(_matrix(series))))


def split_vector(series: PlannedSeries) -> np.ndarray:
    """What the splits are stratified by: classes that are present, that are known, and own labels.

    Returns:
      int [14]: 1 for each class that exam or slices have, for each of which the exam knows, if any
      slice has labels, and if any is labelled positive, so that slices with labels, and positive
      ones, come to every split.
    """
    values = np.array([np.nan if value is None else value for value in series.exam_labels])
    labels = _matrix(series)
    present = (values >= POSITIVE_SHARE) | (labels == 1).any(axis=0)
    own = not np.isnan(labels).all(), (labels == 1).any()
    return np.array([*present, *~np.isnan(values), *own], np.int64)


def _of_slices(values: np.ndarray) -> dict[str, Any]:
    """Fields of a planned series whose exam's labels follow from its slices'."""
    return {
        "exam_labels": _tuple(values),
        "label_level": "" if np.isnan(values).all() else "slice",
    }


def _tuple(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _matrix(series: PlannedSeries) -> np.ndarray:
    """Labels of the slices of a series, NaN where unknown, float64 [n, 6]."""
    return np.array([_values(slice_.labels) for slice_ in series.slices()], np.float64)


class _ContradictionError(Exception):
    """Labels of an exam that cannot all be true; the text says which."""


def _check(given: _Given, labels: np.ndarray, values: np.ndarray) -> None:
    """Compares labels of an exam with those of its slices, [n, 6], and with both joined, [6].

    Raises:
      _ContradictionError: If a slice has a class that its exam lacks, all lack one of the exam, or
        a subtype of one is more likely than any of the other.
    """
    absent = (given.values == 0) & (labels == 1).any(axis=0)
    present = (given.values >= POSITIVE_SHARE) & (labels == 0).all(axis=0)
    parts = [
        f"{words} {', '.join(CLASSES[k] for k in np.flatnonzero(wrong))}"
        for wrong, words in (
            (absent, "a slice is labelled 1 and the exam 0 for"),
            (present, "all slices are labelled 0 and the exam is positive for"),
        )
        if wrong.any()
    ]
    if given.place and not parts:
        parts = list(contradictions(values[None]).values())
    if parts:
        raise _ContradictionError(
            f"labels of its slices and of its exam ({given.place}) contradict each other: "
            f"{'; '.join(parts)}. Correct one of them."
        )


def _values(labels: Sequence[int | None] | None) -> list[float]:
    """Labels of a slice as numbers, NaN where unknown."""
    if labels is None:
        return [np.nan] * _COUNT
    return [np.nan if label is None else label for label in labels]
