"""Predictions of a CSV: probabilities by id, with labels and patients where the file has them."""

from __future__ import annotations

import math
import re
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ich_tf.errors import InputError
from ich_tf.labels import CLASSES, HEADER, read_submission
from ich_tf.labels.columns import class_number, shown
from ich_tf.labels.unknown import UNKNOWN_WORDS, label_number
from ich_tf.records.exam_labels import exam_of_slices
from ich_tf.runtime.csv_files import named_rows, open_csv
from ich_tf.runtime.csv_lines import CsvError
from ich_tf.runtime.names import shortened

SLICE, EXAM = "slice", "exam"
LEVELS = (SLICE, EXAM)
# Columns that name an example, the first that is there, without spaces, hyphens and underscores.
_SLICE_IDS = (
    "sourceid", "imageid", "image", "sopinstanceuid", "filename", "file", "path", "id",
)  # fmt: skip
_SERIES_KEY = "serieskey"
_EXAM_IDS = (
    _SERIES_KEY, "exam", "examid", "series", "seriesid", "seriesinstanceuid", "study", "studyid",
    "studyinstanceuid", "accession", "accessionnumber", "name", "folder", "id",
)  # fmt: skip
_ID_NAMES = {SLICE: _SLICE_IDS, EXAM: _EXAM_IDS}
_PATIENTS = ("patientkey", "patient", "patientid")
_LABEL = "label_"


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Predictions for n slices or exams.

    Attributes:
      ids: Id of each, all different.
      probabilities: float64 [n, 6], in [0, 1]; NaN in the columns of classes that the file lacks.
      labels: float64 [n, 6], in [0, 1], NaN where unknown; None if the file has none.
      patients: Patient of each; None if the file has none.
      is_pooled: Whether exams have the greatest probability of their slices, because the file has
        only slices.
    """

    ids: tuple[str, ...]
    probabilities: np.ndarray
    labels: np.ndarray | None
    patients: tuple[str, ...] | None
    is_pooled: bool = False


def read_scores(path: Path, level: str) -> ScoreTable:
    """Reads predictions: predictions.csv, exams.csv, a submission, or any table of id and classes.

    Args:
      path: CSV file. A long one has the header `ID,Label`; a wide one an id and a column for each
        class that it tells of, and optionally `label_<class>` and `patient_key`.
      level: One of `LEVELS`. Where a file names slices and their series, exams are its series.

    Raises:
      InputError: If the file cannot be read, names no id or class, has an id twice, or a value
        that is no probability.
    """
    try:
        with open_csv(path) as text:
            header = tuple(text.header)
            is_long = [name.casefold() for name in header] == [name.casefold() for name in HEADER]
            if not is_long:
                wide = _Wide(path, header, text.separator, level)
                return wide.table(named_rows(text, ()))
    except CsvError as error:
        raise InputError(f"{path}: {error}") from error
    table = read_submission(path)
    ids = tuple(map(str, table.index))
    return ScoreTable(ids, table.to_numpy(np.float64), None, None)


def read_patients(path: Path, level: str) -> dict[str, str]:
    """Reads the patient of each id from a CSV with an id and a column named patient.

    Raises:
      InputError: If the file cannot be read, lacks a column, or has an id with two patients.
    """
    try:
        with open_csv(path) as text:
            header, rows = tuple(text.header), list(named_rows(text, ()))
    except CsvError as error:
        raise InputError(f"{path}: {error}") from error
    name, patient = _id_column(path, header, level), _find(header, _PATIENTS)
    if patient is None:
        raise InputError(
            f"{path}: the header is {shown(header)!r}; expected a column named patient beside "
            f"{name}. Rename it."
        )
    patients: dict[str, str] = {}
    for line, row in rows:
        if not row[name] or not row[patient]:
            raise InputError(f"{path}: line {line} lacks an id or a patient. Fill it in.")
        if patients.setdefault(row[name], row[patient]) != row[patient]:
            raise InputError(
                f"{path}: {shortened(row[name])} has two patients, "
                f"{shortened(patients[row[name]])} and {shortened(row[patient])} in line {line}. "
                "Correct one."
            )
    return patients


def _key(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.casefold())


def _find(header: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of some names among the columns, as `named_rows` calls it."""
    by_key = {_key(name): name.lower() for name in reversed(header)}
    return next((by_key[name] for name in names if name in by_key), None)


def _id_column(path: Path, header: Sequence[str], level: str) -> str:
    name = _find(header, _ID_NAMES[level])
    if name is None:
        expected = "ID, image_id or source_id" if level == SLICE else "ID, exam or series_key"
        raise InputError(
            f"{path}: the header is {shown(header)!r}, in which no column names the "
            f"{level}; expected one called {expected}. Rename it, or compare at the other --level."
        )
    return name


class _Wide:
    """A table with a column for each class, read row by row: those of a data set are many."""

    def __init__(self, path: Path, header: tuple[str, ...], separator: str, level: str) -> None:
        self._path, self._separator = path, separator
        lower = [name.lower() for name in header]
        keys = [*map(_key, header)]
        again = (lower[i] for i, key in enumerate(keys) if key and keys.count(key) > 1)
        twice = next(again, None)
        if twice is not None:
            raise InputError(f"{path}: two columns are called {shortened(twice)}; remove one.")
        self._classes = _numbers({name: name for name in lower})
        self._labels = _numbers(
            {name: name.removeprefix(_LABEL) for name in lower if name.startswith(_LABEL)}
        )
        if not self._classes:
            raise InputError(
                f"{path}: the header is {shown(header)!r}; expected an id and a column "
                f"for each class, of {', '.join(CLASSES)}, or 'ID,Label' with six rows an id."
            )
        self._patient = _find(header, _PATIENTS)
        of_slices, series = _find(header, _SLICE_IDS[:-1]), _find(header, (_SERIES_KEY,))
        # Column of the series whose slices are put together; None if rows are what is scored.
        self._series = series if level == EXAM and of_slices else None
        self._id = of_slices if self._series and of_slices else _id_column(path, header, level)

    def table(self, rows: Iterable[tuple[int, dict[str, str]]]) -> ScoreTable:
        """Reads the rows."""
        ids: dict[str, int] = {}
        patients: list[str] = []
        series: list[str] = []
        probabilities, labels = array("d"), array("d")
        for line, row in rows:
            name = row[self._id]
            if not name:
                raise InputError(f"{self._path}: line {line} has no {self._id}.")
            if name in ids:
                raise InputError(
                    f"{self._path}: {shortened(name)} is in line {ids[name]} and again in line "
                    f"{line}. Keep one of them."
                )
            ids[name] = line
            if self._patient:
                patients.append(sys.intern(row[self._patient]))
            if self._series:
                if not row[self._series]:
                    raise InputError(f"{self._path}: line {line} has no {self._series}.")
                series.append(sys.intern(row[self._series]))
            probabilities.extend(self._values(self._classes, line, row, may_be_unknown=False))
            if self._labels:
                labels.extend(self._values(self._labels, line, row, may_be_unknown=True))
        if not ids:
            raise InputError(f"{self._path}: has no rows below its header; expected one an id.")
        table = ScoreTable(
            tuple(ids),
            np.array(probabilities).reshape(-1, len(CLASSES)),
            np.array(labels).reshape(-1, len(CLASSES)) if self._labels else None,
            # A patient that is not named is none that could be resampled.
            tuple(patients) if patients and all(patients) else None,
        )
        return _pooled(self._path, table, series) if self._series else table

    def _values(
        self, columns: Mapping[int, str], line: int, row: Mapping[str, str], *, may_be_unknown: bool
    ) -> list[float]:
        """Values of the six classes, NaN for those that the file lacks and for unknown labels."""
        values = [math.nan] * len(CLASSES)
        for number, name in columns.items():
            text = row[name]
            value = label_number(text, self._separator)
            # As label CSVs write it.
            if may_be_unknown and (value == -1 or text.casefold() in UNKNOWN_WORDS):
                continue
            if not 0 <= value <= 1:
                what = "labels" if may_be_unknown else "probabilities"
                raise InputError(
                    f"{self._path}: line {line} has {name} = {shortened(text)!r}; {what} are "
                    "numbers in [0, 1]. Correct it."
                )
            values[number] = value
        return values


def _pooled(path: Path, slices: ScoreTable, series: Sequence[str]) -> ScoreTable:
    """Exams of slices: the greatest probability, and the labels that follow from the slices'."""
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(series):
        groups.setdefault(name, []).append(number)
    members = list(groups.values())
    labels, patients = slices.labels, slices.patients
    for name, rows in groups.items():
        of_series = sorted({patients[row] for row in rows}) if patients else []
        if len(of_series) > 1:
            raise InputError(
                f"{path}: the series {shortened(name)} has slices of several patients, "
                f"{shortened(of_series[0])} and {shortened(of_series[1])}. Correct one."
            )
    return ScoreTable(
        tuple(groups),
        np.stack([slices.probabilities[rows].max(axis=0) for rows in members]),
        None
        if labels is None
        else np.stack([exam_of_slices(labels[rows]) for rows in members]).astype(np.float64),
        None if patients is None else tuple(patients[rows[0]] for rows in members),
        is_pooled=True,
    )


def _numbers(names: Mapping[str, str]) -> dict[int, str]:
    """Number of a class -> its column, of columns and what they may call a class."""
    numbers = {class_number(called): column for column, called in names.items()}
    return {number: column for number, column in sorted(numbers.items()) if number >= 0}
