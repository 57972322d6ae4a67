"""calibration.json: what is fitted comes back, and any change is a calibration or one error."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ich_tf.errors import InputError
from ich_tf.inference.few_labels import without_site
from ich_tf.inference.postprocessing.calibration_file import load_postprocessing
from ich_tf.inference.postprocessing.calibrators import Calibrator
from ich_tf.inference.postprocessing.postprocessing import (
    Group,
    Postprocessing,
)
from ich_tf.inference.postprocessing.site import SiteCalibrator
from ich_tf.inference.postprocessing.volume_error import VolumeError
from ich_tf.labels import CLASSES
from ich_tf.models.run_files import CALIBRATION
from tests.support.strategies import damaged, mutated_json, refused_in_a_paragraph

CURVE = ((-2.0, 0.0, 3.0), (0.1, 0.4, 0.9))
FITTED = Postprocessing(
    model_sha256="f" * 64,
    flip=True,
    smoothing_mm=4.0,
    groups=(
        Group(Calibrator("platt", (0.5,) * 6, (0.1,) * 6), Calibrator(), ("a" * 64,), 0.25),
        Group(Calibrator("isotonic", knots=(CURVE, *[((), ())] * 5)), members=("b",), share=0.75),
    ),
    prevalence=0.2,
    thresholds={"slice": {"youden": {**dict.fromkeys(CLASSES, 0.5), "epidural": None}}},
    mask_thresholds=(0.5,) * 6,
    volume_errors=(VolumeError(1.0, 0.3), *[None] * 5),
    fitted_on={"num_patients": 9, "before": {}},
    site=SiteCalibrator(1.5, (0.1,) * 6),
)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return FITTED.save(tmp_path_factory.mktemp("fitted")).read_text("utf-8")


@given(st.floats(0, 1e3), st.floats(0.01, 0.99), st.lists(st.floats(0, 9), min_size=6, max_size=6))
def test_a_calibration_comes_back(
    folder: Path, smoothing: float, prevalence: float, scale: list[float]
) -> None:
    first = dataclasses.replace(
        FITTED.groups[0], calibrator=Calibrator("platt", tuple(scale), (0.1,) * 6)
    )
    fitted = dataclasses.replace(
        FITTED,
        smoothing_mm=smoothing,
        prevalence=prevalence,
        groups=(first, FITTED.groups[1]),
    )
    fitted.save(folder)
    assert load_postprocessing(folder, "f" * 64, 2) == fitted


@given(st.data())
@example(None)
def test_a_changed_calibration_is_one_or_refused(
    folder: Path, text: str, data: st.DataObject | None
) -> None:
    if data is None:
        changed = b"[" * 50_000
    elif data.draw(st.booleans()):
        changed = data.draw(mutated_json(json.loads(text))).encode("utf-8", "surrogatepass")
    else:
        changed = data.draw(damaged(text.encode()))
    path = folder / CALIBRATION
    path.write_bytes(changed)
    with refused_in_a_paragraph(path):
        read = load_postprocessing(folder, "f" * 64, 2)
        assert read is not None
        logits = np.zeros((len(read.groups), 3, len(CLASSES)))
        with np.errstate(all="ignore"):
            values = read.probabilities(logits, np.array([0.0, 5.0, 10.0]), ["a"] * 3)
        assert ((values >= 0) & (values <= 1 + 1e-6)).all()
        read.describe()
        assert all(type(name) is str for name in read.weak_classes)
        without_site(read)


PROMISE = {"miss_rate": 0.05, "false_alarm_rate": 0.0, "confidence": 0.95}
OF_CLASS = {
    "no_below": 0.1, "yes_from": 0.5, "num_positive_patients": 9, "num_negative_patients": 9
}  # fmt: skip
OF_LEVEL = dict.fromkeys(CLASSES, OF_CLASS)


@pytest.mark.parametrize(
    "change",
    (
        {"thresholds": {"slice": {"youden": {"any": 25.3}}}},
        {"thresholds": {"slice": {"youden": {"any": -1}}}},
        {"thresholds": {"slices": {"youden": {"any": 0.5}}}},
        {"thresholds": {"slice": {"Youden": {"any": 0.5}}}},
        {"abstention": {"target": PROMISE, "levels": {}}},
        {"abstention": {"target": PROMISE, "levels": {"series_model": OF_LEVEL}}},
        {"abstention": {"target": PROMISE, "levels": {"series_max": OF_LEVEL, "slice": OF_LEVEL}}},
        {"abstention": {"target": {**PROMISE, "miss_rate": 5}, "levels": {"series_max": OF_LEVEL}}},
        {
            "abstention": {
                "target": PROMISE,
                "levels": {"series_max": {**OF_LEVEL, "any": {**OF_CLASS, "no_below": 10}}},
            }
        },
        {"fitted_on": {}},
    ),
)
def test_numbers_have_ranges(folder: Path, text: str, change: dict[str, Any]) -> None:
    path = folder / CALIBRATION
    path.write_text(json.dumps({**json.loads(text), **change}))
    with pytest.raises(InputError, match="not a calibration of this version"):
        load_postprocessing(folder, "f" * 64, 2)


def test_a_name_stands_once(folder: Path, text: str) -> None:
    path = folder / CALIBRATION
    path.write_text(text.replace('"flip": true', '"flip": true, "flip": false'))
    with pytest.raises(InputError, match="'flip' is there twice"):
        load_postprocessing(folder, "f" * 64, 2)


@pytest.mark.parametrize(
    "fitted_on",
    (
        {"before": 10**30},
        {"before": {}, "num_patients": "9"},
        {"before": {"fitted_on": []}, "num_patients": 9},
        {"before": {"fitted_on": {"weakly_supervised": 7}}, "num_patients": 9},
        {"before": {"prevalence": None}, "num_patients": 9},
        {"before": {"model_sha256": "0"}, "num_patients": 9},
        {"before": {}, "num_patients": 9, "splits": [1]},
        {"num_patients": 9},
    ),
)
def test_what_it_was_fitted_on_is_checked(
    folder: Path, text: str, fitted_on: dict[str, Any]
) -> None:
    path = folder / CALIBRATION
    path.write_text(json.dumps({**json.loads(text), "fitted_on": fitted_on}))
    with pytest.raises(InputError, match="not a calibration of this version"):
        load_postprocessing(folder, "f" * 64, 2)
