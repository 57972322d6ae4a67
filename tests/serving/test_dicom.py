"""DICOM out: a report and pictures that other readers take."""

import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest

from ich_tf.labels import CLASSES
from ich_tf.reporting.attaching import attach
from ich_tf.reporting.config import AttachConfig
from tests.support.made_up import make_run
from tests.support.reports import groups, numbers
from tests.support.serving import files_of, running, served_all

COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.34"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("dicom")
    # What random weights say of a pixel is too little for any colour.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ich_tf.inference.explainer._SPOT", 1e-4)
        with running(make_run(folder / "w", 32, 1), folder / "state") as started:
            yield started


@pytest.fixture(scope="module")
def studies(client: httpx.Client, phantom_dir: Path) -> list[dict]:
    return served_all(client, files_of(phantom_dir / "stage_2_test"))


@pytest.fixture(scope="module")
def study(studies: list[dict]) -> dict:
    return studies[0]


def fetched(client: httpx.Client, study: dict, path: str) -> bytes:
    answer = client.get(f"/api/studies/{study['study_id']}/{path}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom"
    return answer.content


def test_a_report_says_what_the_page_says(client: httpx.Client, studies: list[dict]) -> None:
    study = studies[-1]
    for number, series in enumerate(study["series"]):
        data = fetched(client, study, f"series/{number}/report.dcm")
        report = pydicom.dcmread(io.BytesIO(data))
        assert report.file_meta.MediaStorageSOPClassUID == COMPREHENSIVE_SR
        assert report.Modality == "SR" and report.ContentTemplateSequence[0].TemplateIdentifier
        assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
        assert report.ContentQualification == "RESEARCH"
        assert "not for clinical use" in report.SeriesDescription
        measured = groups(report)
        assert len(measured) == len(CLASSES) + series["num_slices"]
        greatest = [list(numbers(group).values()) for group in measured[: len(CLASSES)]]
        expected = [[series["summary"]["max"][name]] for name in CLASSES]
        np.testing.assert_allclose(greatest, expected, rtol=1e-7)
        for group, row in zip(measured[len(CLASSES) :], series["probabilities"], strict=True):
            np.testing.assert_allclose(list(numbers(group).values()), row, rtol=1e-7)
    # The same bytes whenever it is asked for; another report for each study.
    assert fetched(client, study, f"series/{number}/report.dcm") == data
    first = pydicom.dcmread(io.BytesIO(fetched(client, studies[0], "series/0/report.dcm")))
    assert first.SOPInstanceUID != report.SOPInstanceUID
    assert first.StudyInstanceUID != report.StudyInstanceUID


def test_a_picture_shows_the_slice_under_its_heat_map(client: httpx.Client, study: dict) -> None:
    series = study["series"][0]
    place = series["summary"]["most_suspicious"]["any"]
    pictures = {}
    for name in ("any", "subdural"):
        data = fetched(client, study, f"series/0/slices/{place}/heatmaps/{name}.dcm")
        picture = pydicom.dcmread(io.BytesIO(data))
        assert picture.file_meta.MediaStorageSOPClassUID == SECONDARY_CAPTURE
        assert picture.PhotometricInterpretation == "RGB"
        assert list(picture.PatientOrientation) == ["L", "P"]
        assert fetched(client, study, f"series/0/slices/{place}/heatmaps/{name}.dcm") == data
        scale = -(-512 // series["columns"])
        spacing = [scale * float(value) for value in picture.PixelSpacing]
        assert spacing == pytest.approx(series["spacing_mm"])
        for text in (
            f"Slice {place + 1} of {series['num_slices']}: {name} 0.",
            "The left of the picture is the patient's right.",
        ):
            assert text in picture.ImageComments
        assert "attention, not segmentation" in picture.ImageComments
        assert "explains the network's own probability" in picture.ImageComments
        pixels = picture.pixel_array
        rows = scale * series["rows"]
        assert pixels.shape[0] > rows and pixels.shape[1] == scale * series["columns"]
        shown = pixels[:rows].astype(int)
        assert np.ptp(shown, axis=-1).max() > 30, "a heat map has colours"
        assert pixels[rows:].max() > 0, "a line of text below"
        pictures[name] = picture
    assert pictures["any"].SOPInstanceUID != pictures["subdural"].SOPInstanceUID
    assert pictures["any"].SeriesInstanceUID == pictures["subdural"].SeriesInstanceUID


def test_dcmtk_reads_them(client: httpx.Client, study: dict, tmp_path: Path) -> None:
    """An independent reader: it checks each value against its representation."""
    if shutil.which("dsrdump") is None:
        pytest.skip("dcmtk is not installed")
    report, picture = tmp_path / "report.dcm", tmp_path / "picture.dcm"
    report.write_bytes(fetched(client, study, "series/0/report.dcm"))
    picture.write_bytes(fetched(client, study, "series/0/slices/0/heatmaps/any.dcm"))
    for command in (["dsrdump", report], ["dcmdump", report], ["dcmdump", picture]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert not re.search("^[EW]:", done.stderr, re.MULTILINE), done.stderr
        assert done.stdout
    shown = subprocess.run(["dsrdump", report], capture_output=True, text=True, check=True).stdout
    assert "Imaging Measurement Report" in shown and "Subdural intracranial hemorrhage" in shown


def test_downloads_are_attached_to_the_files_that_were_sent(
    client: httpx.Client, studies: list[dict], phantom_dir: Path, tmp_path: Path
) -> None:
    """And name none of them before."""
    study = studies[-1]
    sent = phantom_dir / "stage_2_test"
    place = study["series"][0]["summary"]["most_suspicious"]["any"]
    for name in ("series/0/report.dcm", f"series/0/slices/{place}/heatmaps/any.dcm"):
        path = tmp_path / Path(name).name
        path.write_bytes(fetched(client, study, name))
        assert b"ID_" not in path.read_bytes()
    written = attach(AttachConfig(results=str(tmp_path), dicom_dir=str(sent)))
    picture, report = (pydicom.dcmread(path) for path in written)
    source = pydicom.dcmread(
        sent / f"{picture.SourceImageSequence[0].ReferencedSOPInstanceUID}.dcm"
    )
    for result in (picture, report):
        assert result.StudyInstanceUID == source.StudyInstanceUID
        assert result.PatientID == source.PatientID
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert len(series.ReferencedSOPSequence) == study["series"][0]["num_slices"]
