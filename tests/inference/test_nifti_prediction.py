"""Prediction of a NIfTI volume equals that of the DICOM files that it was made of."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from ich_tf.dicom.geometry import order_along
from ich_tf.dicom.reader import read_slice
from ich_tf.inference.config import PredictConfig
from ich_tf.inference.prediction.predict import predict
from ich_tf.labels import read_submission
from tests.support.made_up import make_run
from tests.support.nifti_files import make_nifti, volume_of

pytest.importorskip("nibabel")


def test_slices_of_a_volume_are_predicted_as_those_of_its_files(
    phantom_dir: Path, tmp_path: Path
) -> None:
    files = [
        (path, read_slice(path.read_bytes())) for path in (phantom_dir / "stage_2_test").iterdir()
    ]
    first = min(slice_.header.series_id for _, slice_ in files)
    files = [file for file in files if file[1].header.series_id == first]
    files = [files[i] for i in order_along([slice_.header for _, slice_ in files])]
    for folder in ("dicom", "nifti"):
        (tmp_path / folder).mkdir()
    for path, _ in files:
        shutil.copy(path, tmp_path / "dicom")
    data = make_nifti(*volume_of([slice_ for _, slice_ in files]))
    (tmp_path / "nifti" / "case.nii.gz").write_bytes(data)
    work_dir = make_run(tmp_path / "run", 32, 1, neighbours=3)
    tables = []
    for folder in ("dicom", "nifti"):
        out = tmp_path / f"{folder}.csv"
        predict(
            PredictConfig(
                dicom_dir=str(tmp_path / folder),
                work_dir=str(work_dir),
                out_csv=str(out),
                num_workers=1,
            )
        )
        tables.append(read_submission(out))
    ids = [path.stem for path, _ in files]
    names = [f"case/{number}" for number in range(1, len(files) + 1)]
    np.testing.assert_allclose(tables[1].loc[names], tables[0].loc[ids], atol=1e-6)
    assert np.ptp(tables[1].to_numpy(), axis=0).max() > 0.05
