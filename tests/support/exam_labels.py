"""Conversions of small studies by labels of their exams."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ich_tf.conversion.config import ConversionConfig
from ich_tf.labels import CLASSES
from ich_tf.records.schema import SliceRecord
from tests.support.conversions import slice_records_of
from tests.support.ct_study import write_study

PATIENTS = tuple(f"P{k}" for k in range(1, 7))


def study_uid(patient: str) -> str:
    """Study UID of a patient of `write_study`; the standard series' has `.2` after it."""
    return f"1.2.826.0.1.{sum(patient.encode())}"


def write_studies(
    folder: Path, patients: Sequence[str] = PATIENTS, kinds: Sequence[str] = ("standard",)
) -> dict[str, list[Path]]:
    """Writes a study for each patient, in a folder of his name.

    Returns:
      Paths of the slices of each patient's first kind of series.
    """
    return {
        patient: write_study(folder / patient, kinds, patient=patient, seed=number)[kinds[0]]
        for number, patient in enumerate(patients)
    }


def write_exam_csv(path: Path, rows: dict[str, Any], key: str = "study") -> str:
    """Writes a CSV with a row an exam: its key, and a label for each class, or for `any` alone."""
    wide = all(isinstance(values, Sequence) for values in rows.values())
    names = CLASSES if wide else ("any",)
    lines = [",".join((key, *names))]
    for name, values in rows.items():
        lines.append(",".join(map(str, (name, *(values if wide else [values])))))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def write_slice_csv(path: Path, labels: dict[str, Sequence[Any]]) -> str:
    """Writes a CSV in RSNA's format."""
    rows = [
        f"{image}_{name},{value}\n"
        for image, values in labels.items()
        for name, value in zip(CLASSES, values, strict=True)
    ]
    path.write_text("ID,Label\n" + "".join(rows))
    return str(path)


def exam_config(folder: Path, **changes: Any) -> ConversionConfig:
    """Config of a conversion of `in/` to `out/`, without labels of slices."""
    values = {
        "dicom_dir": str(folder / "in"),
        "out_dir": str(folder / "out"),
        "labels_csv": "",
        "image_size": 16,
        "num_folds": 2,
        "test_fraction": 0.0,
        "num_workers": 1,
        "max_bad_fraction": 1.0,
    }
    return ConversionConfig(**{**values, **changes})


def records_by_patient(folder: Path) -> dict[str, list[SliceRecord]]:
    """Records of a folder by pseudonym of the patient."""
    found: dict[str, list[SliceRecord]] = {}
    for record in slice_records_of(folder):
        found.setdefault(record.patient_key, []).append(record)
    return found
