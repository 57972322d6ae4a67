"""Labels of exams among indexed slices: rows that name exams, and slices without any label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ich_tf.conversion.exam_matching import ExamMatches, SeriesNames
from ich_tf.conversion.exam_rows import ExamRows
from ich_tf.conversion.label_rows import LabelRows
from ich_tf.conversion.labelling import Labelling
from ich_tf.conversion.matching import LabelMatches
from ich_tf.conversion.pseudonyms import pseudonym
from ich_tf.conversion.slice_index import SliceIndex
from ich_tf.dicom.reasons import Reason, Rejection
from ich_tf.labels import CLASSES

AMBIGUOUS = (
    "a label could mean its exam or another, so that nothing says whose it is. Name exams by "
    "series or study UID, or give --series so that one series a study is converted."
)
MISSING = "neither it nor its series, study, patient or folder is in a label CSV."


def exams_of_rows(
    names: SeriesNames,
    exams: ExamRows | None,
    rows: LabelRows,
    matches: LabelMatches,
    *,
    may_name_exams: bool,
) -> tuple[ExamMatches | None, LabelMatches]:
    """Finds the labels of exams of a conversion that has labels of slices, too.

    Args:
      names: Names of all series.
      exams: Rows of a CSV of labels of exams; None if there is none.
      rows: Rows of the label CSV of slices.
      matches: Slices that these belong to.
      may_name_exams: Whether those that name no slice may name an exam.

    Returns:
      Labels of exams; None where there are none, and all labels of slices are known. The matches,
      without the rows that name exams.
    """
    if exams is not None:
        return names.match(exams), matches
    found = names.match(ExamRows([], np.empty((0, len(CLASSES)))))
    if may_name_exams:
        # A CSV of slices must not give a label to an exam by a name that is merely alike.
        is_mixed = bool((matches.row >= 0).any() or matches.ambiguous)
        numbers = names.named(rows.ids, matches.unused_rows, exactly=is_mixed)
        found = names.match(ExamRows.of_unused(rows, numbers, is_mixed=is_mixed))
        if found.exams or (found.ambiguous and not is_mixed):
            rest = np.setdiff1d(matches.unused_rows, numbers).tolist()
            return found, replace(matches, unused_rows=rest)
    return (found if rows.has_unknown else None), matches


def without_labels(indexed: SliceIndex, labelling: Labelling | None) -> Iterator[Rejection]:
    """Removes the slices of series of which no label speaks: of the exam, or of any slice.

    Args:
      indexed: Index of the slices, with their labels of exams.
      labelling: Labels of slices; None if there are none.

    Yields:
      Those slices, with their reasons.
    """
    exams = indexed.exams
    assert exams is not None
    doubtful = frozenset[tuple[str, str, str]]().union(*exams.ambiguous.values())
    for key in indexed.series_keys():
        if key in exams.by_series:
            continue
        numbers = indexed.numbers_of(key)
        if labelling is not None and any(
            labelling.rows.labels(int(labelling.matches.row[number])) for number in numbers
        ):
            continue
        indexed.without_labels.append(key)
        reason, message = Reason.LABEL_MISSING, MISSING
        if key in doubtful:
            reason, message = Reason.LABEL_AMBIGUOUS, AMBIGUOUS
        for number in numbers:
            path = indexed.slice(number).path
            indexed.remove(number)
            yield Rejection(path, "plan", reason.value, message)


def rows_without_exams(exams: ExamMatches, hash_key: bytes = b"") -> Iterator[Rejection]:
    """Rejections of the rows that name no exam, or several.

    Args:
      exams: Rows of labels of exams, and what they name.
      hash_key: Secret under which ids are hashed; under the public key, the empty one, the
        messages quote the rows' keys.
    """
    rows = exams.rows
    for number in exams.unused_rows:
        yield row_rejection(
            rows,
            number,
            Reason.IMAGE_MISSING,
            "names no series, study, patient or folder.",
            hash_key,
        )
    for number, series in exams.ambiguous.items():
        complaint = (
            f"could mean several things, with {len(series)} series together; name it by series or "
            "study UID, or by the folder's path."
        )
        yield row_rejection(rows, number, Reason.LABEL_AMBIGUOUS, complaint, hash_key)


def row_rejection(
    rows: ExamRows, number: int, reason: Reason, complaint: str, hash_key: bytes
) -> Rejection:
    """Rejection of a row, whose path is the pseudonym of its key."""
    path = pseudonym(rows.keys[number], hash_key)
    return Rejection(path, "plan", reason.value, f"{rows.quoted(number, hash_key)} {complaint}")
