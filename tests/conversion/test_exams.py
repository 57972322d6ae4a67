"""Conversions by labels of exams: records, levels, what is left out, and what stays as it was."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from ich_tf.conversion.convert import convert
from ich_tf.conversion.pseudonyms import pseudonym
from ich_tf.conversion.verification import verify
from ich_tf.records.dealt_splits import load_splits
from ich_tf.records.manifest import Manifest
from tests.support.exam_labels import (
    PATIENTS,
    exam_config,
    records_by_patient,
    study_uid,
    write_exam_csv,
    write_slice_csv,
    write_studies,
)

NAN = math.nan
SUBDURAL, NONE = (0, 0, 0, 0, 1, 1), (0,) * 6


def quarantine(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "out" / "quarantine.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def reasons(folder: Path) -> list[str]:
    return sorted({line["reason"] for line in quarantine(folder)})


def of_patient(folder: Path, patient: str) -> list[Any]:
    return records_by_patient(folder / "out").get(pseudonym(patient), [])


def half(patients: tuple[str, ...] = PATIENTS) -> dict[str, tuple[int, ...]]:
    return {patient: SUBDURAL if number % 2 else NONE for number, patient in enumerate(patients)}


@pytest.mark.parametrize(
    ("key_of", "level"),
    [
        (lambda patient: f"{study_uid(patient)}.2", "series"),
        (study_uid, "study"),
        (str, "patient"),
        (lambda patient: f" p-{patient[1:]}", "patient"),
    ],
)
def test_each_slice_has_its_exams_label_and_level(tmp_path: Path, key_of: Any, level: str) -> None:
    write_studies(tmp_path / "in")
    rows = {key_of(patient): labels for patient, labels in half().items()}
    csv = write_exam_csv(tmp_path / "exams.csv", rows)
    result = convert(exam_config(tmp_path, labels_csv=csv))
    assert (result.num_records, reasons(tmp_path)) == (36, [])
    for patient, labels in half().items():
        for record in of_patient(tmp_path, patient):
            assert (record.exam_labels, record.label_level) == (labels, level)
            assert (record.labels, record.labels_known, record.label_present) == (NONE, 0, 0)
            assert record.schema_version == 5
    manifest = Manifest.load(tmp_path / "out")
    assert manifest.has_exams
    assert manifest.num_folds == 2
    assert not verify(tmp_path / "out", full=True)


def test_keys_that_name_nothing_or_several_things_are_listed_by_id(tmp_path: Path) -> None:
    """Folders named alike of two patients; a key of nobody; and one that is written otherwise."""
    write_studies(tmp_path / "in" / "a", PATIENTS[:3])
    write_studies(tmp_path / "in" / "b", PATIENTS[3:])
    for number, patient in enumerate(PATIENTS[:4]):
        folder = "a" if number < 3 else "b"
        (tmp_path / "in" / folder / patient).rename(
            tmp_path / "in" / folder / ("same" if number in (0, 3) else f"Case {number}")
        )
    rows = {
        "same": NONE,
        "nobody": NONE,
        "case-1": SUBDURAL,
        "P3": NONE,
        "P5": SUBDURAL,
        "P6": NONE,
    }
    convert(exam_config(tmp_path, labels_csv=write_exam_csv(tmp_path / "exams.csv", rows)))
    lines = quarantine(tmp_path)
    assert {line["path"] for line in lines if line["reason"] == "IMAGE_MISSING"} == {
        pseudonym("nobody")
    }
    doubtful = [line for line in lines if line["reason"] == "LABEL_AMBIGUOUS"]
    assert sum(line["path"] == pseudonym("same") for line in doubtful) == 1
    assert len(doubtful) == 13
    assert {line["path"].split("/")[1] for line in doubtful if "/" in line["path"]} == {"same"}
    assert {record.exam_labels for record in of_patient(tmp_path, "P2")} == {SUBDURAL}
    plan_inputs = json.loads((tmp_path / "out" / "plan.json").read_text().split("\n")[0] + "]}")
    assert plan_inputs["num_inputs"] == 36 + 2


def test_a_label_a_study_with_two_converted_series_belongs_to_neither(tmp_path: Path) -> None:
    write_studies(tmp_path / "in", kinds=("standard", "bone"))
    rows = {study_uid(patient): labels for patient, labels in half().items()}
    csv = write_exam_csv(tmp_path / "exams.csv", rows)
    best = convert(exam_config(tmp_path, labels_csv=csv))
    assert best.num_records == 36
    # Of two patients, the standard series has a label of its own.
    for patient in PATIENTS[:2]:
        rows[f"{study_uid(patient)}.2"] = rows[study_uid(patient)]
    write_exam_csv(tmp_path / "exams.csv", rows)
    convert(exam_config(tmp_path, labels_csv=csv, series="all", overwrite=True))
    for patient in PATIENTS[:2]:
        assert {record.label_level for record in of_patient(tmp_path, patient)} == {"series"}
        assert len(of_patient(tmp_path, patient)) == 6
    assert len(records_by_patient(tmp_path / "out")) == 2
    doubtful = [line for line in quarantine(tmp_path) if line["reason"] == "LABEL_AMBIGUOUS"]
    assert len(doubtful) == 6 + 10 * 6
    assert not verify(tmp_path / "out", full=True)


def mixed(folder: Path, **labels: Any) -> dict[str, list[Path]]:
    """Studies with `slices.csv` of P1 and P2, and `exams.csv` of the others.

    Args:
      labels: Labels of a slice of P1 (`positive`), of P2 (`negative`), and those of exams besides.
    """
    paths = write_studies(folder / "in")
    slices = {path.stem: NONE for patient in ("P1", "P2") for path in paths[patient]}
    slices[paths["P1"][2].stem] = labels.pop("positive", SUBDURAL)
    slices[paths["P2"][2].stem] = labels.pop("negative", NONE)
    write_slice_csv(folder / "slices.csv", slices)
    exams = {patient: labels_ for patient, labels_ in half().items() if patient not in ("P1", "P2")}
    write_exam_csv(folder / "exams.csv", {**exams, **labels}, key="patient")
    return paths


def mixed_config(folder: Path, **changes: Any) -> Any:
    csvs = {
        "labels_csv": str(folder / "slices.csv"),
        "exam_labels_csv": str(folder / "exams.csv"),
    }
    return exam_config(folder, **{**csvs, **changes})


def test_a_mixed_set_has_labels_of_slices_and_of_exams(tmp_path: Path) -> None:
    mixed(tmp_path)
    result = convert(mixed_config(tmp_path))
    assert (result.num_records, reasons(tmp_path)) == (36, [])
    first, second = of_patient(tmp_path, "P1"), of_patient(tmp_path, "P2")
    assert {(record.exam_labels, record.label_level) for record in first} == {(SUBDURAL, "slice")}
    assert {(record.exam_labels, record.label_level) for record in second} == {(NONE, "slice")}
    assert [record.labels for record in first] == [NONE, NONE, SUBDURAL, NONE, NONE, NONE]
    assert {record.labels_known for record in first} == {63}
    assert {record.label_level for record in of_patient(tmp_path, "P3")} == {"patient"}
    levels = {"slice": 2, "series": 0, "study": 0, "patient": 4, "": 0}
    assert result.exams["levels"] == levels
    assert result.exams["positive"]["any"] == 3
    assert result.exams["known"]["any"] == 6
    assert result.exams["slices_labelled"] == 12
    assert "exams: 6, 2 with labels from slices, 4 with labels of a patient" in result.report()
    # Each fold has a patient with labels of slices.
    splits = load_splits(tmp_path / "out")
    assert splits[pseudonym("P1")] != splits[pseudonym("P2")]
    assert not verify(tmp_path / "out", full=True)


@pytest.mark.parametrize(
    ("labels", "lost", "words"),
    [
        ({"P1": NONE}, "P1", "a slice is labelled 1 and the exam 0 for subdural, any"),
        ({"P2": SUBDURAL}, "P2", "all slices are labelled 0 and the exam is positive for subdural"),
        ({"P2": (0, 0, 0, 0, 0.5, 0.5)}, "P2", "the exam is positive for subdural, any"),
        ({"P2": (0, 0, 0, 0, 0.4, 0.4)}, "", ""),
        ({"P1": (0, 0, 0, 0, 0.4, 0.4)}, "", ""),
        ({"P1": ("", "", "", "", "", 1)}, "", ""),
        ({"P1": ("", "", "", "", "", 0.3)}, "P1", "subdural is 1 with any = 0.3"),
        ({"P2": ("", "", "", "", 0.3, "")}, "P2", "subdural is 0.3 with any = 0"),
    ],
)
def test_labels_of_slices_and_exams_that_contradict_each_other_are_listed(
    tmp_path: Path, labels: dict[str, Any], lost: str, words: str
) -> None:
    mixed(tmp_path, **labels)
    convert(mixed_config(tmp_path))
    lines = quarantine(tmp_path)
    if not lost:
        assert lines == []
        return
    assert {line["reason"] for line in lines} == {"LABEL_CONFLICT"}
    assert [line["path"].split("/")[0] for line in lines] == [lost] * 6
    assert all(words in line["message"] and repr(lost) in line["message"] for line in lines)
    assert of_patient(tmp_path, lost) == []
    assert len(records_by_patient(tmp_path / "out")) == 5


def test_rows_that_contradict_each_other_only_together_are_listed(tmp_path: Path) -> None:
    write_studies(tmp_path / "in")
    rows: dict[str, Any] = {**half()}
    rows["P1"], rows[study_uid("P1")] = ("", "", "", "", "", 0.3), ("", "", "", "", 0.4, "")
    convert(exam_config(tmp_path, labels_csv=write_exam_csv(tmp_path / "exams.csv", rows)))
    lines = quarantine(tmp_path)
    assert [line["reason"] for line in lines] == ["LABEL_CONFLICT"] * 6
    assert all("together subdural is 0.4 with any = 0.3" in line["message"] for line in lines)


def test_what_an_exam_does_not_tell_follows_from_its_slices(tmp_path: Path) -> None:
    mixed(tmp_path, P1=("", "", "", "", "", 1), P2=("", "", "", "", "", ""))
    convert(mixed_config(tmp_path))
    (exam,) = {(one.exam_labels, one.label_level) for one in of_patient(tmp_path, "P1")}
    assert exam == (SUBDURAL, "patient")
    # A row that tells nothing takes nothing from labels of slices.
    (exam,) = {(one.exam_labels, one.label_level) for one in of_patient(tmp_path, "P2")}
    assert exam == (NONE, "slice")


def test_unknown_labels_of_slices_are_never_taken_for_absent(tmp_path: Path) -> None:
    paths = write_studies(tmp_path / "in")
    slices = {path.stem: NONE for patient in PATIENTS for path in paths[patient]}
    slices[paths["P1"][0].stem] = (0, 0, -1, 0, 1, 1)
    slices[paths["P2"][0].stem] = (0, "", 0, 0, 0, "nan")
    slices.update({path.stem: [""] * 6 for path in paths["P3"][:5]})
    slices.update({path.stem: [""] * 6 for path in paths["P4"][1:]})
    slices[paths["P4"][0].stem] = SUBDURAL
    csv = write_slice_csv(tmp_path / "slices.csv", slices)
    result = convert(exam_config(tmp_path, labels_csv=csv))
    first = of_patient(tmp_path, "P1")
    assert (first[0].labels, first[0].labels_known) == (SUBDURAL, 63 - 4)
    assert str(first[0].exam_labels) == str((0.0, 0.0, NAN, 0.0, 1.0, 1.0))
    second = of_patient(tmp_path, "P2")
    assert (second[0].labels, second[0].labels_known, second[1].labels_known) == (NONE, 61 - 32, 63)
    assert str(second[0].exam_labels) == str((0.0, NAN, 0.0, 0.0, 0.0, NAN))
    # Of five slices nothing is known, nor of their exam by the sixth, which shows no bleed.
    assert len(of_patient(tmp_path, "P3")) == 1
    assert str(of_patient(tmp_path, "P3")[0].exam_labels) == str((NAN,) * 6)
    assert of_patient(tmp_path, "P3")[0].label_level == ""
    # A bleed in one slice tells of the exam.
    fourth = of_patient(tmp_path, "P4")
    assert [record.label_present for record in fourth] == [1, 0, 0, 0, 0, 0]
    assert str(fourth[5].exam_labels) == str((NAN, NAN, NAN, NAN, 1.0, 1.0))
    assert result.rejections == {"LABEL_MISSING": 5}
    assert not verify(tmp_path / "out", full=True)


def test_a_slice_that_is_left_out_may_have_what_the_others_lack(tmp_path: Path) -> None:
    """Of P2 a slice has labels that contradict themselves: the exam may have a bleed there."""
    paths = mixed(tmp_path, negative=(0, 1, 0, 0, 0, 0))
    convert(mixed_config(tmp_path))
    (line,) = quarantine(tmp_path)
    assert (line["reason"], line["path"]) == ("LABEL_CONFLICT", f"P2/{paths['P2'][2].name}")
    (exam,) = {(str(one.exam_labels), one.label_level) for one in of_patient(tmp_path, "P2")}
    assert exam == (str((NAN,) * 6), "")
    assert len(of_patient(tmp_path, "P2")) == 5
