"""Columns of a CSV with labels of exams: which one names the exam, and which hold its labels."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ich_tf.labels.classes import CLASSES
from ich_tf.labels.columns import ID_NAMES, LABEL_NAMES, Columns, class_number, column_key, shown

# Names of columns as `column_key` writes them.
_EXAM_NAMES = (
    "study",
    "studyid",
    "studyuid",
    "studyinstanceuid",
    "series",
    "seriesid",
    "seriesuid",
    "seriesinstanceuid",
    "patient",
    "patientid",
    "name",
    "folder",
    "exam",
    "examid",
    "scan",
    "scanid",
    "accession",
    "accessionnumber",
    "accessionid",
)
# Words of radiology. ICH is taken for any intracranial hemorrhage, as in CQ500 and as RSNA does.
_SHORT_NAMES = {
    "edh": "epidural",
    "iph": "intraparenchymal",
    "ivh": "intraventricular",
    "sah": "subarachnoid",
    "sdh": "subdural",
    "ich": "any",
}
# A reader, which is a word and a number, and a class, such as R1:ICH: in chronic_subdural, left:SDH
# and acute:SDH nobody reads, who would be outvoted.
_READ = re.compile(
    r"\s*((?:r|reader|rater|radiologist|annotator|observer|expert)[ _-]?\d+)\s*[ :_.-]+\s*(\w+)\s*",
    re.IGNORECASE,
)
_OF_A_CLASS = re.compile(r"\s*([^:]+?)\s*:\s*([^:]+?)\s*")
_MAX_READERS = 20  # numbers of classes are kept in a byte


def exam_class_number(name: str) -> int:
    """Number of a class by its name or abbreviation, in any case; -1 for another name.

    Examples:
      >>> exam_class_number("SDH"), exam_class_number("Subdural"), exam_class_number("Fracture")
      (4, 4, -1)
    """
    return class_number(_SHORT_NAMES.get(name.strip().casefold(), name))


def find_exam_columns(header: Sequence[str]) -> Columns:
    """Finds the columns by their names, whatever their case and order.

    Args:
      header: Names of the columns; those without a name are not read.

    Raises:
      ValueError: If the columns are not those of labels; the text says why, to follow the file's
        name.

    Examples:
      >>> find_exam_columns(["name", "Category", "R1:ICH", "R2:ICH"]).readers
      ('R1', 'R2')
    """
    keys = [column_key(name) for name in header]
    names = [place for place, key in enumerate(keys) if key in (*ID_NAMES, *_EXAM_NAMES)]
    labels = [place for place, key in enumerate(keys) if key in LABEL_NAMES]
    classes: dict[int, int] = {}
    for place, name in enumerate(header):
        number = exam_class_number(name)
        if number >= 0:
            _set(classes, number, place, header)
    readers, read = _readers(header)
    if len(names) != 1:
        raise ValueError(
            f"the header is {shown(header)!r}, with {len(names)} columns that name an exam; "
            "expected one, such as StudyInstanceUID, SeriesInstanceUID, PatientID, name, folder or "
            "ID. Rename or remove columns."
        )
    if classes and readers:
        raise ValueError(
            f"the header is {shown(header)!r}, with columns of readers "
            f"({header[next(iter(read.values()))]}) and of nobody "
            f"({header[next(iter(classes.values()))]}); keep those of the readers or the others."
        )
    used = {*names, *labels, *classes.values(), *read.values()}
    others = tuple(name for place, name in enumerate(header) if name and place not in used)
    if classes or readers:
        unread = tuple(header[place] for place in labels) + others
        return Columns(names[0], -1, classes or read, unread, readers)
    if len(labels) != 1 or others:
        raise ValueError(
            f"the header is {shown(header)!r}, without a column of a class; expected a column for "
            f"each of {', '.join(CLASSES)}, or some of them, or a column of each reader such as "
            "R1:any, or two columns as 'ID,Label'. Rename columns."
        )
    return Columns(names[0], labels[0], {})


def _readers(header: Sequence[str]) -> tuple[tuple[str, ...], dict[int, int]]:
    """Readers, and places of their columns by number: reader times six plus class."""
    readers: dict[str, int] = {}
    names: list[str] = []
    read: dict[int, int] = {}
    for place, name in enumerate(header):
        match = _READ.fullmatch(name)
        number = exam_class_number(match[2]) if match else -1
        if not match or number < 0:
            other = _OF_A_CLASS.fullmatch(name)
            if other and exam_class_number(other[2]) >= 0:
                raise ValueError(
                    f"its column {shown([name])!r} is of a class, but of no reader, who would be a "
                    "word and a number. Call readers R1:SDH, R2:SDH and so on, and remove "
                    "columns of sides or ages."
                )
            continue
        reader = readers.setdefault(match[1].casefold(), len(readers))
        if reader == len(names):
            names.append(match[1])
        _set(read, reader * len(CLASSES) + number, place, header)
    if len(names) > _MAX_READERS:
        raise ValueError(
            f"the header has columns of {len(names)} readers; expected at most {_MAX_READERS}."
        )
    return tuple(names), read


def _set(places: dict[int, int], number: int, place: int, header: Sequence[str]) -> None:
    if number in places:
        raise ValueError(
            f"the header is {shown(header)!r}, with two columns of one class, "
            f"{header[places[number]]!r} and {header[place]!r}; remove one."
        )
    places[number] = place
