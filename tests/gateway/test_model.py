"""A study whose results cannot be filed is a failure, and no study without findings."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ich_tf.errors import InputError
from ich_tf.gateway.config import ModelSection
from ich_tf.gateway.model import StudyPredictor

PREDICT = "ich_tf.inference.prediction.predict"


def test_a_study_without_any_result_is_a_failure(monkeypatch, tmp_path: Path) -> None:
    reason = "study-1-series-1: a UID of its images has several values; expected one."
    result = SimpleNamespace(not_filed=(reason,), dicom_results=(), series_json=tmp_path)
    monkeypatch.setattr(f"{PREDICT}.load_configured", lambda config: None)
    monkeypatch.setattr(f"{PREDICT}.predict", lambda config, predictor: result)
    predict = StudyPredictor(ModelSection())
    with pytest.raises(InputError, match=f"no results could be filed: {reason}"):
        predict(tmp_path, tmp_path, tmp_path)
