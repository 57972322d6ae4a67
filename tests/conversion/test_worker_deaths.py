"""A file that ends its worker is the only one that is lost, and the folder is as if it were bad."""

import json
from pathlib import Path

import pytest

from ich_tf.conversion.convert import convert
from ich_tf.conversion.verification import verify
from ich_tf.dicom.reader import DicomFile
from tests.support.conversions import config_for
from tests.support.dicom_files import make_dicom
from tests.support.marks import slow
from tests.support.processes import dying_at

FILES = [f"{patient}{number}.dcm" for patient in "ABC" for number in range(2)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in FILES:
        uid = f"1.2.{ord(name[0])}"
        tags = {"PatientID": name[0], "StudyInstanceUID": uid, "SeriesInstanceUID": f"{uid}.1"}
        tags |= {"SOPInstanceUID": f"{uid}.1.{name[1]}"}
        tags |= {"ImagePositionPatient": [0, 0, 5 * int(name[1])]}
        (folder / name).write_bytes(make_dicom(tags=tags))
    return folder


@pytest.mark.parametrize(("when", "stage"), [slow("header", "index"), ("pixels", "execute")])
def test_a_file_that_ends_its_worker_is_lost_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, stage: str
) -> None:
    out_dir = tmp_path / "out"
    after = out_dir / "plan.json" if when == "pixels" else None
    dying_at(source / "B1.dcm", monkeypatch, tmp_path / "hook", after=after)
    result = convert(
        config_for(tmp_path, out_dir, dicom_dir=str(source), labels_csv="", num_workers=2)
    )
    assert result.num_records == len(FILES) - 1
    (line,) = map(json.loads, (out_dir / "quarantine.jsonl").read_text().splitlines())
    assert (line["path"], line["reason"], line["stage"]) == ("B1.dcm", "DECODER_DIED", stage)
    assert verify(out_dir, full=True) == []
    assert DicomFile((source / "B1.dcm").read_bytes()).headers()  # it was sound
