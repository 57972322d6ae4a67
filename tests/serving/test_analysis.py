"""What the server says of a study is what the command says: for every kind of model."""

import json
from pathlib import Path

import numpy as np
import pytest

from ich_tf.inference.calibration import calibrate
from ich_tf.inference.config import CalibrateConfig, PredictConfig
from ich_tf.inference.prediction.predict import predict
from ich_tf.labels import CLASSES
from tests.support.made_up import make_run
from tests.support.serving import files_of, running, served, zipped


def as_predicted(dicom_dir: Path, work_dir: Path, out: Path) -> list[dict]:
    """The series of ich_tf.predict's JSON file."""
    out.mkdir(exist_ok=True)
    predict(
        PredictConfig(
            dicom_dir=str(dicom_dir),
            work_dir=str(work_dir),
            out_csv=str(out / "s.csv"),
            num_workers=1,
        )
    )
    return json.loads((out / "s_series.json").read_text())["series"]


def check_equal(study: dict, expected: list[dict]) -> None:
    assert study["state"] == "done", study["error"]
    assert len(study["series"]) == len(expected)
    for number, (found, one) in enumerate(zip(study["series"], expected, strict=True)):
        assert found["series"] == number
        assert found["num_slices"] == len(one["slices"]) == len(found["z_mm"])
        np.testing.assert_array_equal(found["z_mm"], [each["z_mm"] for each in one["slices"]])
        probabilities = np.array(
            [[each["probabilities"][name] for name in CLASSES] for each in one["slices"]]
        )
        np.testing.assert_allclose(found["probabilities"], probabilities, atol=1e-5)
        summary = found["summary"]
        for level in ("max", "noisy_or", "series_model"):
            if one[level] is None:
                assert summary[level] is None
            else:
                for name in CLASSES:
                    assert summary[level][name] == pytest.approx(one[level][name], abs=1e-5)
        assert summary["decisions"] == one["decisions"]
        for i, name in enumerate(CLASSES):
            assert summary["most_suspicious"][name] == probabilities[:, i].argmax()


@pytest.mark.parametrize(
    "spec",
    [{}, {"neighbours": 3, "crop": "head"}, {"stored_hu": True, "crop": "head"}],
    ids=["plain", "neighbours", "hu"],
)
def test_a_network_over_slices(phantom_dir: Path, tmp_path: Path, spec: dict) -> None:
    source = phantom_dir / "stage_2_test"
    work_dir = make_run(tmp_path / "w", 48, 1, **spec)
    expected = as_predicted(source, work_dir, tmp_path / "out")
    assert len(expected) > 1
    with running(work_dir, tmp_path / "state", batch_size=7) as client:
        check_equal(served(client, files_of(source)), expected)


def test_a_calibrated_run(
    phantom_dir: Path, data_dir: Path, work_copy: Path, tmp_path: Path
) -> None:
    """Smoothed, calibrated, with operating points; in an archive."""
    calibrate(
        CalibrateConfig(
            data_dir=str(data_dir), work_dir=str(work_copy), method="platt", smoothing_mm=5.0
        )
    )
    source = phantom_dir / "stage_2_test"
    expected = as_predicted(source, work_copy, tmp_path / "out")
    with running(work_copy, tmp_path / "state") as client:
        check_equal(served(client, [("all.zip", zipped(files_of(source)))]), expected)
        model = client.get("/api/model").json()
    assert model["calibrated"] and "platt" in model["postprocessing"]
    points = model["thresholds"]
    assert set(points["slice"]) == set(points["series"]) == set(CLASSES)
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
    assert [one["reason"] for one in study["rejected"]] == ["NOT_DICOM"]  # its licence
    check_equal(study, expected)
