"""What the server says of a study is what the command says: for every kind of model."""

from pathlib import Path

import pytest

from ich_tf.dicom.reader import Slice, read_slice
from ich_tf.dicom.series import order
from ich_tf.inference.calibration import calibrate
from ich_tf.inference.config import CalibrateConfig
from ich_tf.labels import CLASSES
from tests.support.made_up import make_run
from tests.support.nifti_files import make_nifti, volume_of
from tests.support.serving import files_of, running, served, served_all, zipped
from tests.support.studies import as_predicted, check_equal


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"neighbours": 3, "crop": "head"},
        {"stored_hu": True, "crop": "head"},
    ],
    ids=["plain", "neighbours", "hu"],
)
def test_a_network_over_slices(phantom_dir: Path, tmp_path: Path, spec: dict) -> None:
    source = phantom_dir / "stage_2_test"
    work_dir = make_run(tmp_path / "w", 48, 1, **spec)
    expected = as_predicted(source, work_dir, tmp_path / "out")
    assert len(expected) > 1
    with running(work_dir, tmp_path / "state", batch_size=7) as client:
        check_equal(served_all(client, files_of(source)), expected)


def test_a_calibrated_run(
    phantom_dir: Path, data_dir: Path, work_copy: Path, tmp_path: Path
) -> None:
    """Smoothed, calibrated, with operating points and abstention; in an archive."""
    calibrate(
        CalibrateConfig(
            data_dir=str(data_dir),
            work_dir=str(work_copy),
            method="platt",
            smoothing_mm=5.0,
            abstain_miss_rate=0.3,
        )
    )
    source = phantom_dir / "stage_2_test"
    expected = as_predicted(source, work_copy, tmp_path / "out")
    with running(work_copy, tmp_path / "state") as client:
        check_equal(served_all(client, [("all.zip", zipped(files_of(source)))]), expected)
        model = client.get("/api/model").json()
    assert model["calibrated"] and "platt" in model["postprocessing"]
    points = model["thresholds"]
    assert set(points["slice"]) == set(points["series"]) == set(CLASSES)
    assert expected[0]["abstention"]["any"] in ("yes", "no", "abstain")
    decided = expected[0]["decisions"]["any"]
    assert decided == (expected[0]["max"]["any"] >= points["series"]["any"])


def test_real_slices(real_dicom: Path, tmp_path: Path) -> None:
    source = real_dicom / "ge_head"
    work_dir = make_run(tmp_path / "w", 96, 2, neighbours=3, crop="head")
    (tmp_path / "only").mkdir()
    for path in source.glob("*.dcm"):
        (tmp_path / "only" / path.name).write_bytes(path.read_bytes())
    expected = as_predicted(tmp_path / "only", work_dir, tmp_path / "out")
    with running(work_dir, tmp_path / "state") as client:
        study = served(client, files_of(source))
    assert [file["reason"] for file in study["rejected"]] == ["NOT_DICOM"]  # its licence
    check_equal([study], expected)


@pytest.mark.slow
def test_nifti_volumes(phantom_dir: Path, tmp_path: Path) -> None:
    """Each is a study of its own; in an archive, too."""
    pytest.importorskip("nibabel")
    series: dict[str, list[Slice]] = {}
    for _, data in files_of(phantom_dir / "stage_2_test"):
        slice_ = read_slice(data)
        series.setdefault(slice_.header.series_id, []).append(slice_)
    source = tmp_path / "volumes"
    source.mkdir()
    for name, members in zip(("a.nii.gz", "b.nii.gz"), series.values(), strict=False):
        (source / name).write_bytes(make_nifti(*volume_of(order(members))))
    work_dir = make_run(tmp_path / "w", 48, 1, crop="head")
    expected = as_predicted(source, work_dir, tmp_path / "out")
    assert len(expected) == 2
    with running(work_dir, tmp_path / "state") as client:
        check_equal(served_all(client, files_of(source)), expected)
        check_equal(served_all(client, [("all.zip", zipped(files_of(source)))]), expected)
