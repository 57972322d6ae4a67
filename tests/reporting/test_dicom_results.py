"""predict --dicom_results: objects in the studies of the images, the same bytes each time."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ich_tf.dicom.reader import read_slices
from ich_tf.errors import UsageError
from ich_tf.inference.config import PredictConfig
from ich_tf.inference.prediction.predict import load_configured, predict
from ich_tf.inference.slice_predictor import Predictor
from tests.support.dicom_files import rewrite
from tests.support.findings import ARCHIVED, require_valid, source_files
from tests.support.made_up import make_run
from tests.support.nifti_files import make_nifti, volume_of

OTHER = {"PatientID": "MRN-2", "StudyInstanceUID": "1.2.826.0.2.4", "SeriesInstanceUID": "1.2.9"}


def config(tmp_path: Path, run: Path, **changes) -> PredictConfig:
    fields = {
        "dicom_dir": str(tmp_path / "in"),
        "work_dir": str(run),
        "out_csv": str(tmp_path / "s.csv"),
        "dicom_results": str(tmp_path / "in" / "dicom"),
        "num_workers": 1,
        "batch_size": 4,
    }
    return PredictConfig(**{**fields, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run") / "w", 64, 1)


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return load_configured(PredictConfig(work_dir=str(run)))


def write(folder: Path, files: Sequence[bytes], start: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for number, data in enumerate(files, start):
        (folder / f"{number:02}.dcm").write_bytes(data)


def test_each_study_gets_its_own_results(tmp_path: Path, run: Path, predictor, caplog) -> None:
    pytest.importorskip("nibabel", reason="the extra masks is not installed")
    other = {**OTHER, "SOPInstanceUID": "1.2.826.0.2.7"}
    write(tmp_path / "in", [*source_files(3), *source_files(1, other)])
    slices = [slice_ for data in source_files(3) for slice_ in read_slices(data)]
    voxels, affine = volume_of(slices)
    voxels[0] = -1000  # air, which a volume in Hounsfield units has
    volume = make_nifti(voxels, affine, packed=False)
    (tmp_path / "in" / "volume.nii").write_bytes(volume)
    result = predict(config(tmp_path, run), predictor)
    by_patient = {}
    for path in result.dicom_results:
        assert re.fullmatch(r"study-[123]-series-1-[a-z0-9-]+\.dcm", path.name)
        dataset = pydicom.dcmread(path)
        by_patient.setdefault(dataset.PatientID, set()).add(dataset.StudyInstanceUID)
    assert by_patient == {
        ARCHIVED["PatientID"]: {ARCHIVED["StudyInstanceUID"]},
        OTHER["PatientID"]: {OTHER["StudyInstanceUID"]},
    }
    (reason,) = result.not_filed
    assert "NIfTI" in reason and reason in result.report()
    for record in caplog.records:
        assert "MRN" not in record.getMessage() and "Doe" not in record.getMessage()
    # Again, beside what is there: results are no inputs, and the same bytes.
    before = {path: path.read_bytes() for path in result.dicom_results}
    assert predict(config(tmp_path, run), predictor).dicom_results == result.dicom_results
    assert {path: path.read_bytes() for path in result.dicom_results} == before


def test_another_prevalence_is_another_result(
    tmp_path: Path, run: Path, predictor, monkeypatch
) -> None:
    # What random weights say of a pixel is too little for any colour.
    monkeypatch.setattr("ich_tf.inference.explainer._SPOT", 1e-4)

    def results(**changes) -> dict[str, pydicom.Dataset]:
        paths = predict(config(tmp_path, run, **changes), predictor).dicom_results
        return {path.stem.split("-", 4)[4]: pydicom.dcmread(path) for path in paths}

    write(tmp_path / "in", source_files(4))
    first, second = results(), results(prevalence=0.99)
    assert set(first) == {"report"}, "no slice is at 0.5"
    assert set(second) == {"report", "key-objects", "capture-01", "capture-02", "capture-03"}
    assert first["report"].SOPInstanceUID != second["report"].SOPInstanceUID
    assert len({each.SeriesInstanceUID for each in second.values()}) == 3
    assert len({each.SOPInstanceUID for each in second.values()}) == 5
    picture = second["capture-01"]
    selected = second["key-objects"].ContentSequence[-4].ReferencedSOPSequence[0]
    (source,) = picture.SourceImageSequence
    assert selected.ReferencedSOPInstanceUID == source.ReferencedSOPInstanceUID
    for text in (
        "Research only", "of 4: any 0.", "no operating point, shown from 0.50",
        "The left of the picture is the patient's right.", "attention, not segmentation",
        "change of prevalence",
    ):  # fmt: skip
        assert text in picture.ImageComments
    colours = picture.pixel_array.astype(int)
    assert colours.shape[0] > colours.shape[1] == 512, "lines of text below"
    assert np.ptp(colours[:512], axis=-1).max() > 30, "a heat map"
    # Prevalence 0.99 is that of the report of the same name before: none is left of the others.
    assert set(results()) == {"report"}
    assert [path.name for path in (tmp_path / "in" / "dicom").iterdir()] == [
        "study-1-series-1-report.dcm"
    ]


def test_what_differs_has_another_uid(tmp_path: Path, run: Path, predictor) -> None:
    """An archive keeps the first of two objects with one UID, whatever the second says."""

    def reports(**changes) -> dict[str, bytes]:
        paths = predict(config(tmp_path, run, series="all", **changes), predictor).dicom_results
        return {
            pydicom.dcmread(path).SOPInstanceUID: path.read_bytes()
            for path in paths
            if path.stem.endswith("report")
        }

    # The series that is the second of its study, alone.
    write(tmp_path / "in", source_files(2, {"SeriesInstanceUID": "1.9"}))
    alone = [reports(prevalence=value) for value in (0.2, 0.20000001)]
    other = source_files(2, {"SeriesInstanceUID": "1.2"})
    other = [rewrite(data, SOPInstanceUID=f"1.8.{i}") for i, data in enumerate(other)]
    write(tmp_path / "in", other, start=2)
    both = reports(prevalence=0.2)
    write(tmp_path / "in", other[:1], start=4)
    twice = reports(prevalence=0.2)
    seen: dict[str, bytes] = {}
    for uid, data in [pair for each in (*alone, both, twice) for pair in each.items()]:
        assert seen.setdefault(uid, data) == data
    assert len(seen) == 5


def test_files_of_others_stay_in_the_folder(tmp_path: Path, run: Path, predictor) -> None:
    write(tmp_path / "in", source_files(1))
    folder = tmp_path / "in" / "dicom"
    folder.mkdir()
    names = ["study-1-series-1.dcm", "study-a-series-b-report.dcm", "study-2-series-1-notes.dcm"]
    for name in (*names, "study-9-series-2-capture-01.dcm"):
        (folder / name).write_bytes(b"")
    predict(config(tmp_path, run), predictor)
    left = {path.name for path in folder.iterdir()}
    assert left == {*names, "study-1-series-1-report.dcm"}


@pytest.mark.slow
def test_a_model_with_masks_gives_outlines_and_segments(tmp_path: Path) -> None:
    run = make_run(tmp_path / "w", 64, 1, segmentation=True)
    write(tmp_path / "in", source_files(3, side=64))
    result = predict(config(tmp_path, run, prevalence=0.99))
    kinds = {path.stem.split("-", 4)[4]: path for path in result.dicom_results}
    assert {"report", "segmentation", "key-objects", "capture-01"} <= set(kinds)
    for kind, path in kinds.items():
        require_valid(path.read_bytes(), tmp_path / f"{kind}.dcm")
    picture = pydicom.dcmread(kinds["capture-01"])
    assert "Outlines: any white" in picture.ImageComments
    segmentation, report = (pydicom.dcmread(kinds[kind]) for kind in ("segmentation", "report"))
    assert "Volume" in str(report) and segmentation.SOPInstanceUID in str(report)


def test_without_the_library_nothing_is_predicted(tmp_path: Path, run: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UsageError, match=r"highdicom, which is not installed.*pip install"):
        predict(config(tmp_path, run))


def test_a_file_in_the_place_of_the_folder_is_refused_at_once(tmp_path: Path, run: Path) -> None:
    (tmp_path / "results").write_bytes(b"")
    with pytest.raises(UsageError, match=r"--dicom_results=.*results is a file; expected a folder"):
        predict(config(tmp_path, run, dicom_results=str(tmp_path / "results")))
