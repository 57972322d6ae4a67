"""Whose slice it is, where files have no PatientID."""

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from ich_tf.conversion.plan import load_plan
from ich_tf.dicom.header_scan import scan_file
from ich_tf.dicom.listing import list_sources
from ich_tf.dicom.series import group_by_series
from ich_tf.errors import InputError
from tests.support.dicom_files import make_dicom


@pytest.fixture
def anonymised(tmp_path: Path) -> ConversionConfig:
    """Two studies of two files each, one with an empty PatientID, one without; two folders."""
    for study in range(2):
        for number in range(2):
            tags = {
                "SOPInstanceUID": f"1.2.{study}.{number}",
                "StudyInstanceUID": f"1.3.{study}",
                "ImagePositionPatient": ["0", "0", str(5 * number)],
            }
            without = ("PatientID",) if study else ()
            path = tmp_path / "dicom" / f"p{number}" / f"s{study}" / f"{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            data = make_dicom(tags=tags if study else {**tags, "PatientID": ""}, without=without)
            path.write_bytes(data)
    return ConversionConfig(
        dicom_dir=str(tmp_path / "dicom"),
        labels_csv="",
        out_dir=str(tmp_path / "out"),
        image_size=16,
        num_workers=1,
    )


def test_without_a_patient_the_failure_names_the_flag(anonymised: ConversionConfig) -> None:
    with pytest.raises(InputError, match="--patient_from=study") as caught:
        convert(anonymised)
    assert "4 BAD_HEADER" in str(caught.value)


def test_one_file_without_a_patient_is_listed_with_the_flag(anonymised: ConversionConfig) -> None:
    (Path(anonymised.dicom_dir) / "sound.dcm").write_bytes(make_dicom())
    result = convert(anonymised)
    assert (result.num_records, result.rejections) == (1, {"BAD_HEADER": 4})
    quarantine = (result.out_dir / "quarantine.jsonl").read_text()
    assert quarantine.count("--patient_from=study") == 4


@pytest.mark.parametrize(
    ("patient_from", "names"),
    [
        ("study", [{"p0/s0/0.dcm", "p1/s0/1.dcm"}, {"p0/s1/0.dcm", "p1/s1/1.dcm"}]),
        ("folder", [{"p0/s0/0.dcm", "p0/s1/0.dcm"}, {"p1/s0/1.dcm", "p1/s1/1.dcm"}]),
    ],
)
def test_the_study_or_the_folder_is_the_patient(
    anonymised: ConversionConfig, patient_from: str, names: list[set[str]]
) -> None:
    result = convert(replace(anonymised, patient_from=patient_from))
    assert result.num_records == 4
    plan, _ = load_plan(result.out_dir)
    found: dict[str, set[str]] = {}
    for slice_ in plan.shards[0].slices():
        found.setdefault(slice_.patient_key, set()).add(slice_.name)
    assert sorted(found.values(), key=sorted) == names
    with pytest.raises(InputError, match="patient_from"):
        convert(anonymised)


def test_the_folder_is_the_one_below_the_folder_of_an_archive(
    anonymised: ConversionConfig, tmp_path: Path
) -> None:
    folder = Path(anonymised.dicom_dir)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted(folder.rglob("*.dcm")):
            archive.write(path, f"study/{path.relative_to(folder)}")
    config = replace(anonymised, patient_from="folder", dicom_dir=str(tmp_path / "a.zip" / "study"))
    result = convert(config)
    plan, _ = load_plan(result.out_dir)
    assert len(plan.patients["unlabelled"]) == 2


def test_series_without_a_patient_stay_apart(anonymised: ConversionConfig) -> None:
    scanned = [
        entry for one in list_sources(anonymised.dicom_dir).sources for entry in scan_file(one)
    ]
    groups = group_by_series(scanned)
    assert [len(members) for members in groups.values()] == [2, 2]
    assert {key[0] for key in groups} == {""}
