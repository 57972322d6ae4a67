"""Conversions by labels of exams: records, levels, what is left out, and what stays as it was."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from ich_tf.conversion.convert import convert
from ich_tf.conversion.pseudonyms import pseudonym
from ich_tf.conversion.verification import verify
from ich_tf.records.manifest import Manifest
from tests.support.exam_labels import (
    PATIENTS,
    exam_config,
    records_by_patient,
    study_uid,
    write_exam_csv,
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
