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

from ich_tf.labels import ANY, CLASSES
from ich_tf.serving.answers import Model, Thresholds
from ich_tf.serving.dicom_report import structured_report
from ich_tf.serving.study import DescribedSeries, PredictedSeries, SliceFile
from tests.support.made_up import make_run
from tests.support.serving import files_of, running, served_all

COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
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


def groups(report: pydicom.Dataset) -> list[pydicom.Dataset]:
    """The measurement groups of a report (TID 1411, 1501)."""
    (measurements,) = [
        item
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    ]
    return list(measurements.ContentSequence)


def numbers(group: pydicom.Dataset) -> dict[str, float]:
    """Names and values of a group's measurements."""
    return {
        item.ConceptNameCodeSequence[0].CodeMeaning: float(
            item.MeasuredValueSequence[0].NumericValue
        )
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }


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
    # The same report whenever it is asked for, but for the time; another for each study.
    again = pydicom.dcmread(io.BytesIO(fetched(client, study, f"series/{number}/report.dcm")))
    assert again.SOPInstanceUID == report.SOPInstanceUID
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
        assert [float(value) for value in picture.PixelSpacing] == series["spacing_mm"]
        assert "not a segmentation" in picture.ImageComments
        assert "explains the network's own probability" in picture.ImageComments
        pixels = picture.pixel_array
        assert pixels.shape[0] > series["rows"] and pixels.shape[1] == series["columns"]
        shown = pixels[: series["rows"]].astype(int)
        assert np.ptp(shown, axis=-1).max() > 30, "a heat map has colours"
        assert pixels[series["rows"] :].max() > 0, "a line of text below"
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
    assert "Imaging Measurement Report" in shown and "Subdural hemorrhage" in shown


def made_up_report(probabilities: np.ndarray, volumes: dict | None = None) -> bytes:
    """The report of a series of made-up slices."""
    count = len(probabilities)
    whole = dict.fromkeys(CLASSES, 0.5)
    series = PredictedSeries(
        slices=(SliceFile("0", 8, 8, (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0), (0.5, 0.5)),) * count,
        described=DescribedSeries(
            None, 1, "", "soft", 5.0, 5.0, 5.0 * count, "no", "original", "axial"
        ),
        chosen="the only series of its study",
        gantry_tilt_deg=0.0,
        z_mm=tuple(map(float, range(count))),
        probabilities=tuple(map(tuple, probabilities.tolist())),
        summary={
            "max": whole,
            "noisy_or": whole,
            "series_model": None,
            "decisions": dict.fromkeys(CLASSES, True),
            "most_suspicious": dict.fromkeys(CLASSES, 7),
            "volumes": volumes,
        },
    )
    model = Model(
        name="tiny", version="0", sha256="0" * 64, calibration_sha256="0" * 64,
        description="a model", postprocessing="none", calibrated=False, classes=list(CLASSES),
        thresholds=Thresholds(slice={}, series={}), mask_thresholds=None, heat_scale={},
    )  # fmt: skip
    return structured_report("key", 0, series, model)


def test_of_a_long_series_the_most_suspicious_slices_are_listed() -> None:
    probabilities = np.random.default_rng(0).uniform(0.01, 0.99, (300, 6))
    report = pydicom.dcmread(io.BytesIO(made_up_report(probabilities)))
    listed = groups(report)[len(CLASSES) :]
    assert len(listed) == 200
    any_bleed = [list(numbers(group).values())[ANY] for group in listed]
    assert min(any_bleed) >= np.sort(probabilities[:, ANY])[-200] - 1e-6


def test_volumes_are_in_the_report(tmp_path: Path) -> None:
    volumes = [0.0, 31.257, 2.5, 0.125, None, 33.882]
    kinds = {
        "ml": volumes,
        "likely_low_ml": [None] * 5 + [25.5],
        "likely_high_ml": [None] * 5 + [40],
    }
    by_kind = {kind: dict(zip(CLASSES, values, strict=True)) for kind, values in kinds.items()}
    data = made_up_report(np.full((9, 6), 0.5), by_kind)
    report = pydicom.dcmread(io.BytesIO(data))
    found = [numbers(group).get("Volume") for group in groups(report)[: len(CLASSES)]]
    assert found == volumes
    (volume,) = [
        item
        for item in groups(report)[ANY].ContentSequence
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeMeaning == "Volume"
    ]
    unit = volume.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
    assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("ml", "UCUM")
    ranges = {
        item.ConceptNameCodeSequence[0].CodeValue: item.MeasuredValueSequence[0]
        for item in volume.ContentSequence
        if item.ValueType == "NUM"
    }
    above, below = ranges["371886008"], ranges["371885007"]
    assert float(above.NumericValue) == pytest.approx(40 - 33.882)
    assert float(below.NumericValue) == pytest.approx(33.882 - 25.5)
    assert below.MeasurementUnitsCodeSequence[0].CodeValue == "ml"
    of_others = [group for group in groups(report)[: len(CLASSES)] if "371886008" in str(group)]
    assert len(of_others) == 1
    if shutil.which("dciodvfy") is None:
        pytest.skip("dicom3tools are not installed")
    (tmp_path / "report.dcm").write_bytes(data)
    command = ["dciodvfy", "-new", str(tmp_path / "report.dcm")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and not re.search("^Error", done.stderr, re.MULTILINE), done.stderr
