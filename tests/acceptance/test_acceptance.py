"""The acceptance report of an insertion, with predictions made up."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ich_tf.acceptance.acceptance import run_acceptance
from ich_tf.acceptance.config import AcceptanceConfig
from ich_tf.errors import InputError
from ich_tf.inference.config import PredictConfig
from ich_tf.labels import read_labels, write_long_csv
from tests.acceptance.conftest import head_hu, write_head


@pytest.fixture
def folder(negatives: Path, tmp_path: Path) -> Path:
    """The negatives, and a volume beside them that no bleed was put into."""
    shutil.copytree(negatives, tmp_path / "negatives")
    (tmp_path / "negatives" / "a.nii").write_bytes(b"no volume")
    (tmp_path / "stage_2_sample_submission.csv").write_text("ID,Label\n")
    return tmp_path / "negatives"


@pytest.fixture
def skipped(inserted: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids without a prediction: a model finds every bleed, and gives no other alarm."""
    left_out: list[str] = []
    labels = read_labels(inserted / "labels.csv")

    def predict(config: PredictConfig, _: object) -> None:
        assert config.sample_path is None  # one beside the folder is of other files
        stems = [path.stem for path in Path(config.dicom_dir).rglob("*.dcm")]
        ids = [stem for stem in stems if stem not in left_out]
        bleeds = [0.9 * float(labels["any"].get(image_id, 0)) for image_id in ids]
        write_long_csv(config.submission_path, ids, np.repeat(np.array(bleeds)[:, None], 6, axis=1))

    predictor = SimpleNamespace(postprocessing=SimpleNamespace(thresholds={}))
    monkeypatch.setattr("ich_tf.acceptance.acceptance.predict", predict)
    monkeypatch.setattr("ich_tf.acceptance.acceptance.load_configured", lambda _: predictor)
    return left_out


def _config(inserted: Path, dicom_dir: Path) -> AcceptanceConfig:
    out = dicom_dir.parent / "report.html"
    return AcceptanceConfig(
        inserted=str(inserted), dicom_dir=str(dicom_dir), out=str(out), num_workers=1
    )


def test_a_model_that_finds_all(inserted: Path, folder: Path, skipped: list[str]) -> None:
    config = _config(inserted, folder)
    result = run_acceptance(config)
    (whole,) = result.tables["all"]
    assert (whole.auc.value, whole.slice_sensitivity.value, whole.case_sensitivity.value) == (
        (1.0,) * 3
    )
    assert (result.num_cases, result.num_untouched) == (2, 14)
    assert (result.alarms_by_slice.value, result.alarms_by_scan.value) == (0.0, 0.0)
    assert "no calibration gives one" in result.report()
    assert "no labelled slice" not in Path(config.out).read_text()


def test_a_slice_without_a_prediction_is_never_left_out_unseen(
    inserted: Path, folder: Path, skipped: list[str]
) -> None:
    skipped.append(min(folder.glob("*.dcm")).stem)
    with pytest.raises(InputError, match=f"1 of the 14 slices to score .*{skipped[0]}"):
        run_acceptance(_config(inserted, folder))


def test_other_scans_with_the_same_names_are_refused(
    inserted: Path, negatives: Path, tmp_path: Path, skipped: list[str]
) -> None:
    other = write_head(tmp_path / "other", head_hu(), patient=1)
    for path, name in zip(sorted(other.iterdir()), sorted(negatives.iterdir()), strict=True):
        path.rename(other / name.name)
    with pytest.raises(InputError, match="lacks the series of"):
        run_acceptance(_config(inserted, other))


def test_labels_of_another_insertion_are_refused(
    inserted: Path, folder: Path, skipped: list[str], tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(inserted, mixed)
    write_long_csv(mixed / "labels.csv", ["case0009_000_003"], np.ones((1, 6), np.int64))
    with pytest.raises(InputError, match="case0009_000_003, which belongs to none of the cases"):
        run_acceptance(_config(mixed, folder))
