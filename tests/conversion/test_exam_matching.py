"""What a key of a label of an exam names."""

import logging

import numpy as np
import pytest

from ich_tf.conversion.exam_matching import SeriesNames
from ich_tf.conversion.exam_rows import AUTO, ExamRows

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
    "site/u/scan/1.dcm": ("u1", "1.14", "1.14.1"),
    "site/v/1/leaf/1.dcm": ("v1", "1.15", "1.15.1"),
    "site/v/2/leaf/1.dcm": ("v1", "1.16", "1.16.1"),
    "twin/a/1.dcm": ("w1", "8.8", "8.8.1"),
    "twin/b/1.dcm": ("w2", "8.8", "8.8.2"),
    "Jane Jane/1.dcm": ("h1", "1.17", "1.17.1"),
    "Doe Joe/1.dcm": ("h2", "1.18", "1.18.1"),
    "XR/odd.nii/1.dcm": ("h3", "1.19", "1.19.1"),
    "alone.dcm": ("h4", "1.20", "1.20.1"),
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
        ("CQ500CT0 CQ500CT0/Unknown Study", "study", ["1.5.1", "1.5.2"]),
        # A folder with several patients is no exam.
        ("site", "several", ["1.14.1", "1.15.1", "1.16.1"]),
        ("Site", "several", ["1.14.1", "1.15.1", "1.16.1"]),
        # Folders of one name are different folders, of one patient, too.
        ("site/v", "patient", ["1.15.1", "1.16.1"]),
        ("leaf", "several", ["1.15.1", "1.16.1"]),
        ("LEAF", "several", ["1.15.1", "1.16.1"]),
        ("2", "series", ["1.16.1"]),
        # Studies of two patients under one UID are two.
        ("8.8", "several", ["8.8.1", "8.8.2"]),
        # A name and an id that are one word are that word; two words are not either of them.
        ("JANE", "series", ["1.17.1"]),
        ("doe", "nothing", []),
        ("joe", "nothing", []),
        ("DoeJoe", "series", ["1.18.1"]),
        # A folder that is named as a NIfTI file is a folder, and of any name.
        ("odd.nii", "series", ["1.19.1"]),
        ("XR/", "series", ["1.19.1"]),
        # A file that lies in no folder has no empty name.
        ("", "nothing", []),
        ("/", "nothing", []),
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
    assert named("odd.nii", is_mixed=True) == ("series", ["1.19.1"])
    assert named("XR/", is_mixed=True) == ("series", ["1.19.1"])


NAMES = ["1.5.2", "nobody", "ann", "1.5", "CT-THIN"]


def names_of_files() -> SeriesNames:
    names = SeriesNames()
    for path, (patient, study, series) in FILES.items():
        names.add((patient, study, series), path, patient)
    names.add(("ann", "1.7", "1.7.1"), "aaa/1.dcm", "ann")
    return names


def test_each_row_has_its_exam_and_each_series_its_rows() -> None:
    rows = ExamRows(NAMES, np.zeros((5, 6)))
    matches = names_of_files().match(rows)
    assert matches.rows is rows
    assert {number: exam.level for number, exam in matches.exams.items()} == {
        0: "series",
        2: "patient",
        3: "study",
    }
    # The fourth names one that the first names exactly.
    assert (matches.unused_rows, matches.ambiguous) == ((1, 4), {})
    thin = ("CQ500CT0", "1.5", "1.5.2")
    assert matches.by_series[thin] == (0, 3)
    assert matches.folders[thin] == "CQ500CT0 CQ500CT0/Unknown Study/CT THIN"
    # The first by name where a series lies in several, and none where it lies in none.
    assert matches.folders["ann", "1.7", "1.7.1"] == "aaa"
    assert matches.folders["h4", "1.20", "1.20.1"] == ""


@pytest.mark.parametrize(
    ("key", "patient"),
    [("11-2", "1-12"), ("1-12", "112"), ("112", "1 12"), ("P1-2", "P12"), ("1.12a", "11.2a")],
)
def test_numbers_that_are_apart_stay_apart(key: str, patient: str) -> None:
    names = SeriesNames()
    names.add(("x", "1.1", "1.1.1"), "f/1.dcm", patient)
    assert names.match(ExamRows([key], np.zeros((1, 6)))).unused_rows == (0,)


@pytest.mark.parametrize("level", [AUTO, "study"])
def test_a_row_that_names_an_exam_exactly_is_the_only_one(
    level: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    names = SeriesNames()
    names.add(("x", "1.1", "1.1.1"), "f/1.dcm", "A-1")
    names.add(("y", "1.2", "1.2.1"), "g/1.dcm", "A-2")
    rows = ExamRows(["A1", "a_2", "A-1", "A 1"], np.zeros((4, 6)), level=level)
    matches = names.match(rows)
    assert matches.unused_rows == (0, 3)
    assert matches.by_series == {("y", "1.2", "1.2.1"): (1,), ("x", "1.1", "1.1.1"): (2,)}
    assert "1 rows of the label CSV name their exam by letters and digits alone" in caplog.text


def test_without_rows_nothing_is_matched() -> None:
    rows = ExamRows([], np.zeros((0, 6)))
    matches = names_of_files().match(rows)
    assert matches.rows is rows and matches.unused_rows == ()
    assert matches.exams == matches.ambiguous == matches.by_series == matches.folders == {}


def test_a_row_of_a_file_that_is_left_out_is_used() -> None:
    names = names_of_files()
    names.add_unusable("Case 99/ct thick/broken.dcm")
    keys = ["case-99", "CT_Thick", "Broken.dcm", "case 98"]
    assert names.match(ExamRows(keys, np.zeros((4, 6)))).unused_rows == (3,)


def test_keys_that_name_anything_are_told_by_number() -> None:
    names = names_of_files()
    assert names.named(NAMES, (number for number in (1, 2, 4)), exactly=False) == [2, 4]
    assert names.named(NAMES, [1, 2, 4], exactly=True) == [2]
    assert names.named(NAMES, [], exactly=False) == []
