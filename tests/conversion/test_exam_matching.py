"""What a key of a label of an exam names."""

import numpy as np
import pytest

from ich_tf.conversion.exam_matching import SeriesNames
from ich_tf.conversion.exam_rows import ExamRows

# Path of a file -> PatientID, study and series.
FILES = {
    "CQ500CT0 CQ500CT0/Unknown Study/CT PLAIN/1.dcm": ("CQ500CT0", "1.5", "1.5.1"),
    "CQ500CT0 CQ500CT0/Unknown Study/CT THIN/1.dcm": ("CQ500CT0", "1.5", "1.5.2"),
    "CQ500CT1 CQ500CT1/Unknown Study/CT PLAIN/1.dcm": ("CQ500CT1", "1.6", "1.6.1"),
    "case_7/first/1.dcm": ("ann", "1.7", "1.7.1"),
    "case_7/second/1.dcm": ("ann", "1.8", "1.8.1"),
    "nifti/vol-3.nii.gz": ("ben", "ben", "1.9.1"),
    "b-1/1.dcm": ("x1", "1.10", "1.10.1"),
    "b_1/1.dcm": ("x2", "1.11", "1.11.1"),
    "c/1.dcm": ("y-1", "1.12", "7.7"),
    "d/1.dcm": ("z-1", "1.13", "7.7"),
}


def named(key: str, level: str = "auto", *, is_mixed: bool = False) -> tuple[str, list[str]]:
    """Level and series of what a key names; `several` or `nothing` in place of the level."""
    names = SeriesNames()
    for path, (patient, study, series) in FILES.items():
        names.add((patient, study, series), path, patient)
    matches = names.match(ExamRows([key], np.zeros((1, 6)), level=level, is_mixed=is_mixed))
    if matches.unused_rows:
        return "nothing", []
    if matches.ambiguous:
        return "several", sorted(uid for _, _, uid in matches.ambiguous[0])
    exam = matches.exams[0]
    assert set(matches.by_series) == exam.series
    return exam.level, sorted(uid for _, _, uid in exam.series)


@pytest.mark.parametrize(
    ("key", "level", "series"),
    [
        ("1.5.2", "series", ["1.5.2"]),
        ("1.5", "study", ["1.5.1", "1.5.2"]),
        ("ann", "patient", ["1.7.1", "1.8.1"]),
        # Alike by letters and digits: the id and the folder of one patient.
        ("CQ500-CT-0", "patient", ["1.5.1", "1.5.2"]),
        # Folders: by path, by name, and what they hold.
        ("case_7", "patient", ["1.7.1", "1.8.1"]),
        ("case_7/second", "series", ["1.8.1"]),
        ("case_7/second/", "series", ["1.8.1"]),
        ("Case 7", "patient", ["1.7.1", "1.8.1"]),
        ("CT THIN", "series", ["1.5.2"]),
        ("CT PLAIN", "several", ["1.5.1", "1.6.1"]),
        # A NIfTI file is a series.
        ("vol-3", "series", ["1.9.1"]),
        ("VOL3", "series", ["1.9.1"]),
        ("vol-3.nii.gz", "series", ["1.9.1"]),
        ("nifti/vol-3.nii.gz", "series", ["1.9.1"]),
        ("vol-4.nii.gz", "nothing", []),
        # Exactly before alike.
        ("b-1", "series", ["1.10.1"]),
        ("B1", "several", ["1.10.1", "1.11.1"]),
        # One UID of two series.
        ("7.7", "several", ["7.7", "7.7"]),
        # UIDs are never alike; nor is what has neither letter nor digit.
        ("15.1", "nothing", []),
        ("1.51", "nothing", []),
        ("--", "nothing", []),
        ("somebody", "nothing", []),
    ],
)
def test_a_key_names_one_thing_or_is_not_used(key: str, level: str, series: list[str]) -> None:
    assert named(key) == (level, series)


@pytest.mark.parametrize(
    ("key", "level", "expected"),
    [
        ("1.5", "study", ("study", ["1.5.1", "1.5.2"])),
        ("1.5", "series", ("several", ["1.5.1", "1.5.2"])),
        ("1.5.2", "study", ("study", ["1.5.1", "1.5.2"])),
        ("CQ500-CT-0", "study", ("study", ["1.5.1", "1.5.2"])),
        ("ann", "study", ("several", ["1.7.1", "1.8.1"])),
        ("1.7", "patient", ("patient", ["1.7.1", "1.8.1"])),
        ("nobody", "patient", ("nothing", [])),
    ],
)
def test_a_level_that_is_given_is_that_of_every_key(
    key: str, level: str, expected: tuple[str, list[str]]
) -> None:
    assert named(key, level) == expected


def test_beside_rows_of_slices_a_key_names_exactly() -> None:
    assert named("CQ500-CT-0", is_mixed=True) == ("nothing", [])
    assert named("CQ500CT0", is_mixed=True) == ("patient", ["1.5.1", "1.5.2"])
