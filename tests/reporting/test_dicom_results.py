"""predict --dicom_results: objects in the studies of the images, the same bytes each time."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pydicom
import pytest

from ich_tf.dicom.reader import read_slices
from ich_tf.errors import UsageError
from ich_tf.inference.config import PredictConfig
from ich_tf.inference.prediction.predict import load_configured, predict
from ich_tf.inference.prediction.result import PredictionResult
from ich_tf.inference.slice_predictor import Predictor
from tests.support.findings import ARCHIVED, source_files
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


def test_another_prevalence_is_another_result(tmp_path: Path, run: Path, predictor) -> None:
    def uids(result: PredictionResult) -> set[str]:
        return {str(pydicom.dcmread(path).SOPInstanceUID) for path in result.dicom_results}

    write(tmp_path / "in", source_files(2))
    first = uids(predict(config(tmp_path, run), predictor))
    second = uids(predict(config(tmp_path, run, prevalence=0.3), predictor))
    assert first and not first & second


def test_without_the_library_nothing_is_predicted(tmp_path: Path, run: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UsageError, match=r"highdicom, which is not installed.*pip install"):
        predict(config(tmp_path, run))
