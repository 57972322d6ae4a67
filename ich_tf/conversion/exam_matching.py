"""Matching of series and rows of labels of exams: whose label a row holds, by what it names.

A row names a series or a study by its UID, a patient by the PatientID, or whatever lies in a
folder; exactly, else by letters and digits alone in lower case, where exactly one thing answers, of
which no row speaks exactly. Numbers that are apart stay apart: 1-12 is not 11-2.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ich_tf.conversion.exam_rows import AUTO, ExamRows
from ich_tf.dicom.nifti_names import is_nifti, without_nifti_extension

_LOG = logging.getLogger(__name__)
# Ids of the patient, the study and the series.
SeriesKey = tuple[str, str, str]

_PATIENT = "patient"
_UID = re.compile(r"\d+(\.\d+)+")


@dataclass(frozen=True)
class NamedExam:
    """Series that a key names.

    Attributes:
      level: What the key names: `series`, `study` or `patient`.
      series: Keys of the series, one or more.
      is_alike: Whether the key names it by letters and digits alone.
    """

    level: str
    series: frozenset[SeriesKey]
    is_alike: bool = False


@dataclass(frozen=True, eq=False)
class ExamMatches:
    """Rows of labels of exams, and the series that they belong to.

    Attributes:
      rows: The rows.
      exams: What each row names, by its number; rows without are in one of the other two.
      unused_rows: Rows that name nothing, not even a file or folder that is left out.
      ambiguous: Series that each row could mean which names several things, by its number.
      by_series: Numbers of the rows of each series that has any.
      folders: First folder of each series; empty if its files lie in none.
    """

    rows: ExamRows
    exams: Mapping[int, NamedExam]
    unused_rows: tuple[int, ...]
    ambiguous: Mapping[int, frozenset[SeriesKey]]
    by_series: Mapping[SeriesKey, tuple[int, ...]]
    folders: Mapping[SeriesKey, str]


class SeriesNames:
    """All names by which a row may mean a series; in memory by series, not by slice."""

    def __init__(self) -> None:
        """Has seen no slice yet."""
        self._patients: dict[SeriesKey, set[str]] = {}
        self._folders: dict[SeriesKey, set[str]] = {}
        self._unusable: set[str] = set()

    def add_unusable(self, path: str) -> None:
        """Notes the path of a file or folder that is left out: a row may mean it, and is used."""
        self._unusable.update(_letters(part) for part in path.split("/"))

    def add(self, key: SeriesKey, path: str, patient_id: str) -> None:
        """Notes the names of a slice.

        Args:
          key: Ids of its patient, study and series.
          path: Path of its file from the folder of all inputs.
          patient_id: Its PatientID; empty if it has none.
        """
        folder, _, name = path.rpartition("/")
        if is_nifti(path):  # a file is a series
            folder = (
                f"{folder}/{without_nifti_extension(name)}"
                if folder
                else (without_nifti_extension(name))
            )
        if key not in self._folders:
            self._folders[key], self._patients[key] = set(), set()
        self._folders[key].add(folder)
        if patient_id:
            self._patients[key].add(patient_id)

    def named(self, keys: Sequence[str], numbers: Iterable[int], *, exactly: bool) -> list[int]:
        """Numbers of those of some keys that name anything.

        Args:
          keys: All keys.
          numbers: Numbers of the keys to look at.
          exactly: Whether only what is named exactly counts.
        """
        numbers = list(numbers)
        if not numbers:  # as a rule; the names of RSNA's series take 60 MiB
            return []
        names = _Names(self._patients, self._folders)
        return [number for number in numbers if names.find(keys[number], exactly=exactly)]

    def match(self, rows: ExamRows) -> ExamMatches:
        """Gives every row to the series that it names."""
        if not len(rows):
            return ExamMatches(rows, {}, (), {}, {}, {})
        names = _Names(self._patients, self._folders)
        exams: dict[int, NamedExam] = {}
        ambiguous: dict[int, frozenset[SeriesKey]] = {}
        unused: list[int] = []
        by_series: dict[SeriesKey, list[int]] = {}
        for number, key in enumerate(rows.keys):
            found = names.find(key, exactly=rows.is_mixed)
            if rows.level != AUTO:
                found = names.raised(found, rows.level)
            if not found:
                if _letters(key) not in self._unusable:
                    unused.append(number)
            elif len({exam.series for exam in found}) > 1 or not found[0].level:
                ambiguous[number] = frozenset().union(*(exam.series for exam in found))
            else:
                exams[number] = found[0]
        exactly = {exam.series for exam in exams.values() if not exam.is_alike}
        for number in [row for row, exam in exams.items() if exam.is_alike]:
            if exams[number].series in exactly:
                del exams[number]
                unused.append(number)
        for number, exam in exams.items():
            for series in exam.series:
                by_series.setdefault(series, []).append(number)
        if num_alike := sum(exam.is_alike for exam in exams.values()):
            _LOG.info(
                "%d rows of the %s name their exam by letters and digits alone, as CQ500-CT-0 does "
                "CQ500CT0.",
                num_alike,
                rows.file,
            )
        return ExamMatches(
            rows=rows,
            exams=exams,
            unused_rows=tuple(sorted(unused)),
            ambiguous=ambiguous,
            by_series={series: tuple(numbers) for series, numbers in by_series.items()},
            folders={key: min(folders) for key, folders in self._folders.items()},
        )


class _Names:
    """What the names of all series mean."""

    def __init__(
        self,
        patients: Mapping[SeriesKey, Iterable[str]],
        folders: Mapping[SeriesKey, Iterable[str]],
    ) -> None:
        series, studies = _Kind(), _Kind()
        ids, paths, names = _Kind(), _Kind(), _Kind()
        self._alike = _Kind()
        self._of_study: dict[SeriesKey, set[SeriesKey]] = {}
        self._of_patient: dict[SeriesKey, set[SeriesKey]] = {}
        for key in folders:
            patient, study, uid = key
            series.add(uid, (patient, study), key)
            studies.add(study, (patient,), key)
            self._of_study.setdefault((patient, study, ""), set()).add(key)
            self._of_patient.setdefault((patient, "", ""), set()).add(key)
            for name in patients[key]:
                ids.add(name, (), key)
                self._alike.add(_letters(name), (_PATIENT, name), key)
        for key in folders:
            for folder in folders[key]:
                parts = folder.split("/")  # of a file in no folder an empty name, which is none
                for end, part in enumerate(parts, 1):
                    path = "/".join(parts[:end])
                    paths.add(path, (), key)
                    names.add(part, (path,), key)
                    for letters in {_letters(part), _letters(_one_word(part))}:
                        self._alike.add(letters, ("folder", path), key)
        self._exact = (("series", series), ("study", studies), ("patient", ids))
        self._folders = paths, names

    def find(self, key: str, *, exactly: bool) -> list[NamedExam]:
        """What a key names, all things of the first kind that has it.

        Args:
          key: The key.
          exactly: Whether only what is named exactly counts.
        """
        for level, kind in self._exact:
            if found := kind.sets(key):
                return [NamedExam(level, series) for series in found]
        name = key.strip("/")
        for kind in self._folders:
            # A NIfTI file counts as a folder that is named without its extension.
            if found := kind.sets(name) or kind.sets(without_nifti_extension(name)):
                return [NamedExam(_level(series), series) for series in found]
        letters = "" if exactly or _UID.fullmatch(key) else _letters(key)
        return [
            NamedExam("patient" if thing == _PATIENT else _level(series), series, is_alike=True)
            for series, thing in self._alike.sets(letters).items()
        ]

    def raised(self, found: Iterable[NamedExam], level: str) -> list[NamedExam]:
        """The things of a level that named ones are or lie in, each once."""
        sets: dict[frozenset[SeriesKey], bool] = {}
        for exam in found:
            for patient, study, uid in exam.series:
                if level == "series":
                    members = {(patient, study, uid)}
                elif level == "study":
                    members = self._of_study[patient, study, ""]
                else:
                    members = self._of_patient[patient, "", ""]
                sets[frozenset(members)] = exam.is_alike
        return [NamedExam(level, series, is_alike) for series, is_alike in sets.items()]


class _Kind:
    """Names of one kind: the things of each name, and the series of each thing."""

    def __init__(self) -> None:
        self._things: dict[str, dict[tuple[str, ...], set[SeriesKey]]] = {}

    def add(self, name: str, thing: tuple[str, ...], series: SeriesKey) -> None:
        if name:
            self._things.setdefault(name, {}).setdefault(thing, set()).add(series)

    def sets(self, name: str) -> dict[frozenset[SeriesKey], str]:
        """The different sets of series of the things of a name, with the first word of a thing."""
        sets: dict[frozenset[SeriesKey], str] = {}
        for thing, series in self._things.get(name, {}).items():
            sets.setdefault(frozenset(series), thing[0] if thing else "")
        return sets


def _level(series: frozenset[SeriesKey]) -> str:
    """Smallest level of which the series are one thing; empty if they are of several patients."""
    if len(series) == 1:
        return "series"
    if len({key[:2] for key in series}) == 1:
        return "study"
    return "patient" if len({key[0] for key in series}) == 1 else ""


def _letters(name: str) -> str:
    """Letters and digits of a name, in lower case; numbers that are apart stay apart.

    Examples:
      >>> _letters("CQ500-CT-1"), _letters("1-12"), _letters("11 - 2")
      ('cq500ct1', '1-12', '11-2')
    """
    words = "".join(letter if letter.isalnum() else " " for letter in name.casefold())
    return re.sub(r"(?<=\d) +(?=\d)", "-", words).replace(" ", "")


def _one_word(name: str) -> str:
    """The word of a name that is one word twice or more, as PatientName and PatientID often are."""
    words = set(name.split())
    return words.pop() if len(words) == 1 else name
