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
        assert (summary["volumes"] is None) == ("volumes" not in one)
        for kind, volumes in (summary["volumes"] or {}).items():
            # Batches of another size may move a pixel at a border.
            assert volumes == pytest.approx(one["volumes"][kind], rel=0.01, abs=0.1)
        for i, name in enumerate(CLASSES):
            assert summary["most_suspicious"][name] == probabilities[:, i].argmax()
