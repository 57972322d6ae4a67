"""Studies as the command predicts them, compared with those of the server."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ich_tf.inference.config import PredictConfig
from ich_tf.inference.prediction.predict import predict
from ich_tf.labels import CLASSES


def as_predicted(dicom_dir: Path, work_dir: Path, out: Path, **fields: Any) -> list[dict]:
    """The series of ich_tf.predict's JSON file `s_series.json`."""
    out.mkdir(exist_ok=True)
    predict(
        PredictConfig(
            dicom_dir=str(dicom_dir),
            work_dir=str(work_dir),
            out_csv=str(out / "s.csv"),
            num_workers=1,
            **fields,
        )
    )
    return json.loads((out / "s_series.json").read_text())["series"]


def check_equal(studies: list[dict], expected: list[dict]) -> None:
    """Checks the series of an upload's studies, whatever their order."""
    for study in studies:
        assert study["state"] == "done", study["error"]
        assert [series["series"] for series in study["series"]] == [*range(len(study["series"]))]
    found = [series for study in studies for series in study["series"]]
    assert len(found) == len(expected)
    for one in expected:
        probabilities = np.array(
            [[each["probabilities"][name] for name in CLASSES] for each in one["slices"]]
        )
        z_mm = [each["z_mm"] for each in one["slices"]]
        like = [
            series
            for series in found
            if series["z_mm"] == z_mm
            and np.allclose(series["probabilities"], probabilities, rtol=0, atol=1e-5)
        ]
        assert like, f"no series like {one['series_id']}"
        found.remove(like[0])
        _check_series(like[0], one, probabilities)


def _check_series(found: dict, one: dict, probabilities: np.ndarray) -> None:
    assert found["num_slices"] == len(one["slices"]) == len(found["slices"])
    summary = found["summary"]
    for level in ("max", "noisy_or", "series_model"):
        if one[level] is None:
            assert summary[level] is None
        else:
            for name in CLASSES:
                assert summary[level][name] == pytest.approx(one[level][name], abs=1e-5)
    assert summary["decisions"] == one["decisions"]
    assert summary["abstention"] == one.get("abstention")
    assert found["warnings"] == one["warnings"]
    assert (summary["volumes"] is None) == ("volumes" not in one)
    for kind, volumes in (summary["volumes"] or {}).items():
        # Batches of another size may move a pixel at a border.
        assert volumes == pytest.approx(one["volumes"][kind], rel=0.01, abs=0.1)
    for i, name in enumerate(CLASSES):
        assert summary["most_suspicious"][name] == probabilities[:, i].argmax()
