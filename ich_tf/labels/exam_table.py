"""Labels of exams: of series, studies or patients, from a table of labels or of several readers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ich_tf.errors import UsageError
from ich_tf.labels.agreement import ReaderAgreement, reader_agreement
from ich_tf.labels.cells import LabelCells, collect_cells
from ich_tf.labels.classes import ANY, CLASSES, LabelError
from ich_tf.labels.exam_columns import exam_class_number, find_exam_columns
from ich_tf.labels.rows import read_chunks
from ich_tf.labels.unknown import POSITIVE, complete, contradictions
from ich_tf.runtime.names import shortened

_LOG = logging.getLogger(__name__)

# Ways to make one label of those of several readers.
READERS = ("majority", "all")
# What is wrong with an exam of which the file tells nothing.
ALL_UNKNOWN = "all of its labels are unknown"
_UNKNOWN = "An unknown label is left empty, or written as -1, NaN or unknown"


@dataclass(frozen=True)
class ExamTable:
    """Labels of n exams, as a CSV has them.

    Attributes:
      keys: Name of each exam with labels, as written.
      values: Labels in [0, 1], float64 [n, 6]; NaN where unknown.
      conflicts: What is wrong with each other exam, by its name.
      lines: Line of the first row of each exam of `keys`, int [n].
      agreement: How far readers agree; nothing if the labels are of no readers.
      classes_told: Classes of which the file tells; what it does not tell of may follow from them.
      conflict_lines: Line of the first row of each exam of `conflicts`, by its name.
    """

    keys: list[str]
    values: np.ndarray
    conflicts: dict[str, str]
    lines: np.ndarray
    agreement: ReaderAgreement | None
    classes_told: tuple[str, ...]
    conflict_lines: dict[str, int]


def read_exam_table(path: str | Path, *, readers: str = "majority") -> ExamTable:
    """Reads a CSV with labels of exams.

    The table is wide, with a row an exam and a column for each class, or for each class of each
    reader, such as `R1:SDH`; or long, with a row for each exam and class. Classes may be missing,
    and labels unknown; what follows from the known ones is filled in, see `unknown.complete`.

    Args:
      path: CSV file; a column named study, series, patient, name, folder, exam, accession (or
        StudyInstanceUID and so on) or ID names the exams.
      readers: One of `READERS`. With majority a class is 1 or 0 as more than half of the readers
        say who say anything, and unknown at a tie; with all it is the share of those who say 1.

    Raises:
      LabelError: If the file cannot be read, its columns are not those of labels, a label is
        outside [0, 1] and not unknown, or every label is unknown.
      UsageError: If `readers` is not one of `READERS`.
    """
    if readers not in READERS:
        raise UsageError(f"readers is {readers!r}; expected one of {', '.join(READERS)}.")
    chunks = read_chunks(path, find_exam_columns, exam_class_number)
    cells = collect_cells(
        path,
        chunks,
        lambda values: (values >= 0) & (values <= 1),
        "labels are outside [0, 1]",
        f"Labels mark absence (0) or presence (1), or a share between. {_UNKNOWN}: correct those "
        "rows.",
        may_be_unknown=True,
    )
    conflicts = cells.disagreements()
    labels = np.where(np.isfinite(cells.lowest), cells.lowest, np.nan)
    is_told = (np.isfinite(cells.lowest) | cells.unknown).any(axis=0)
    is_told = is_told.reshape(-1, len(CLASSES)).any(axis=0)
    classes_told = tuple(np.array(CLASSES)[is_told].tolist())
    agreement = None
    if cells.readers:
        votes = _votes(path, cells, labels, bool(is_told[ANY]), conflicts)
        is_clear = ~np.isin(np.arange(len(votes)), list(conflicts))
        agreement = reader_agreement(votes[is_clear], cells.readers)
        labels = _of_readers(votes, readers)
    labels = complete(labels, is_any_told=bool(is_told[ANY]))
    for number, words in contradictions(labels).items():
        conflicts.setdefault(number, words)
    for number in np.flatnonzero(np.isnan(labels).all(axis=1)).tolist():
        conflicts.setdefault(number, ALL_UNKNOWN)
    if np.isnan(labels).all():
        raise LabelError(
            f"{path}: all labels of its {len(labels)} exams are unknown; expected 0, 1 or a share "
            "between for some class of some exam. Fill in what is known."
        )
    table = _table(cells, labels, conflicts, agreement, classes_told)
    _LOG.info(
        "%s: %d exams, %d of them faulty or unknown; of the others %d labels are known and %d "
        "unknown; read: %s",
        path,
        len(labels),
        len(table.conflicts),
        np.isfinite(table.values).sum(),
        np.isnan(table.values).sum(),
        ", ".join(classes_told),
    )
    return table


def _votes(
    path: str | Path,
    cells: LabelCells,
    labels: np.ndarray,
    is_any_told: bool,
    conflicts: dict[int, str],
) -> np.ndarray:
    """Votes of the readers, float64 [n, readers, 6], completed reader by reader.

    Contradictions of a reader with himself are added to `conflicts`.
    """
    is_share = np.isfinite(labels) & (labels != 0) & (labels != 1)
    if is_share.any():
        row, column = np.argwhere(is_share)[0]
        raise LabelError(
            f"{path}: {is_share.sum()} labels of readers are neither 0 nor 1, the first "
            f"{labels[row, column]:g} of {shortened(cells.names[row])} by "
            f"{cells.column(column)}. A reader says absent (0) or present (1). {_UNKNOWN}: correct "
            "those rows."
        )
    count = len(cells.readers)
    # Row i * count + j holds exam i as reader j saw it.
    rows = complete(labels.reshape(-1, len(CLASSES)), is_any_told=is_any_told)
    for number, words in contradictions(rows).items():
        conflicts.setdefault(number // count, f"reader {cells.readers[number % count]}: {words}")
    return rows.reshape(-1, count, len(CLASSES))


def _of_readers(votes: np.ndarray, readers: str) -> np.ndarray:
    """Labels of votes [n, readers, 6]: the majority of each, or the share of yes, [n, 6]."""
    count = np.sum(~np.isnan(votes), axis=1)
    share: np.ndarray = np.nansum(votes, axis=1) / np.where(count, count, np.nan)
    if readers == "all":
        return share
    is_open = np.isnan(share) | (share == POSITIVE)
    labels: np.ndarray = np.where(is_open, np.nan, share > POSITIVE)
    return labels


def _table(
    cells: LabelCells,
    labels: np.ndarray,
    conflicts: dict[int, str],
    agreement: ReaderAgreement | None,
    classes_told: tuple[str, ...],
) -> ExamTable:
    is_clear = np.ones(len(labels), bool)
    is_clear[list(conflicts)] = False
    faulty = sorted(conflicts)
    return ExamTable(
        keys=cells.names[is_clear].tolist(),
        values=labels[is_clear],
        conflicts={cells.names[number]: conflicts[number] for number in faulty},
        lines=cells.lines[is_clear],
        agreement=agreement,
        classes_told=classes_told,
        conflict_lines={cells.names[number]: int(cells.lines[number]) for number in faulty},
    )
