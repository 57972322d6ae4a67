"""Detectability of groups of cases, against numbers counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ich_tf.acceptance.acceptance import run_acceptance
from ich_tf.acceptance.config import AcceptanceConfig
from ich_tf.acceptance.detectability import ScoredSlices, false_alarms, tables
from ich_tf.errors import InputError


def _case(number: int, leading: str, ml: float) -> dict[str, object]:
    return {
        "case": f"case{number}", "source": f"source{number % 2}", "leading": leading, "ml": ml,
        "contrast_hu": 25.0, "noise_hu": 4.5, "depth_mm": None, "thickness_mm": 5.0,
        "kernel": "soft",
    }  # fmt: skip


def _slices(scores: list[float], sources: list[int], scans: list[str]) -> ScoredSlices:
    return ScoredSlices(
        np.array(scores), np.array([f"source{n}" for n in sources]), np.array(scans)
    )


_UNTOUCHED = _slices([0.1, 0.2, 0.6, 0.3], [0, 0, 1, 1], ["source0"] * 2 + ["source1"] * 2)


def test_auc_and_shares_of_each_group() -> None:
    cases = [_case(0, "subdural", 1.0), _case(1, "subdural", 40.0), _case(2, "epidural", 40.0)]
    labelled = _slices([0.15, 0.9, 0.7, 0.4], [0, 1, 1, 0], ["case0", "case1", "case1", "case2"])
    found = tables(cases, labelled, _UNTOUCHED, 0.5, 0)
    (whole,) = found["all"]
    # 0.15 is above one of four, 0.9 and 0.7 above all, 0.4 above three.
    assert whole.auc.value == pytest.approx((1 + 4 + 4 + 3) / 16)
    assert (whole.num_sources, whole.num_cases, whole.num_slices) == (2, 3, 4)
    assert whole.slice_sensitivity.value == 0.5
    assert whole.case_sensitivity.value == pytest.approx(1 / 3)
    by_type = {row.name: row for row in found["leading subtype"]}
    assert set(by_type) == {"epidural", "subdural"}
    assert by_type["subdural"].case_sensitivity.value == 0.5
    assert by_type["epidural"].auc.value == 0.75
    assert [row.name for row in found["volume"]] == ["below 2 ml", "30 ml and more"]
    assert found["depth below the skull"] == []
    assert [row.name for row in found["kernel"]] == ["soft"]


def test_a_case_without_a_labelled_slice_has_no_score() -> None:
    found = tables([_case(0, "subdural", 0.1)], _slices([], [], []), _UNTOUCHED, 0.5, 100)
    (whole,) = found["all"]
    assert whole.num_cases == 0
    assert whole.auc.text() == whole.case_sensitivity.text() == "undefined"


def test_false_alarms_and_their_intervals() -> None:
    by_slice, by_scan = false_alarms(_UNTOUCHED, 0.5, 100)
    assert (by_slice.value, by_scan.value) == (0.25, 0.5)
    assert by_slice.low is None  # two studies are too few
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=200)
    numbers = np.repeat(np.arange(20), 10).tolist()
    many = _slices(scores.tolist(), numbers, [f"source{n}" for n in numbers])
    estimate, _ = false_alarms(many, 0.7, 200)
    assert estimate.value == pytest.approx((scores >= 0.7).mean())
    assert estimate.low is not None and estimate.high is not None
    assert estimate.low < (scores >= 0.7).mean() < estimate.high


def test_a_folder_of_no_insertion_is_refused(tmp_path: Path) -> None:
    config = AcceptanceConfig(inserted=str(tmp_path), dicom_dir=str(tmp_path))
    with pytest.raises(InputError, match="insert_bleeds finished"):
        run_acceptance(config)
    (tmp_path / "inserted.json").write_text(json.dumps({"cases": []}))
    with pytest.raises(InputError, match="has no cases"):
        run_acceptance(config)
