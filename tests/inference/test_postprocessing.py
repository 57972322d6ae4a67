import json
from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import InputError
from ich_tf.inference.postprocessing.calibrators import Calibrator
from ich_tf.inference.postprocessing.postprocessing import Postprocessing, load_postprocessing
from ich_tf.metrics import sigmoid
from ich_tf.models.run_files import CALIBRATION

FITTED = Postprocessing(
    model_sha256="ab",
    flip=True,
    smoothing_mm=4.0,
    calibrator=Calibrator("temperature", scale=(0.5,) * 6),
    prevalence=0.3,
    thresholds={"slice": {"youden": {"any": 0.25, "epidural": None}}},
    fitted_on={"num_slices": 10},
)
LOGITS = np.random.default_rng(0).normal(size=(8, 6))


def test_saved_and_read_it_is_the_same(tmp_path: Path) -> None:
    FITTED.save(tmp_path)
    loaded = load_postprocessing(tmp_path, "ab")
    assert loaded == FITTED
    assert load_postprocessing(tmp_path / "other", "ab") is None


def test_the_steps_in_their_order() -> None:
    z_mm = np.arange(8) * 4.0
    probabilities = FITTED.probabilities(LOGITS, z_mm, ["s"] * 8)
    weight = np.exp(-0.5 * ((z_mm[:, None] - z_mm) / 4) ** 2)
    smoothed = weight @ sigmoid(LOGITS) / weight.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, sigmoid(0.5 * np.log(smoothed / (1 - smoothed))))
    rarer = FITTED.probabilities(LOGITS, z_mm, ["s"] * 8, prevalence=0.05)
    assert (rarer < probabilities).all()
    plain = Postprocessing().probabilities(LOGITS, z_mm, ["s"] * 8)
    np.testing.assert_allclose(plain, sigmoid(LOGITS))


def test_in_words() -> None:
    assert FITTED.describe() == (
        "calibrated by temperature, mean of slice and mirror image, smoothed over 4 mm along the "
        "series"
    )
    assert Postprocessing().describe() == "not calibrated"
    assert FITTED.threshold("slice", "any") == 0.25
    assert FITTED.threshold("slice", "epidural") is None
    assert FITTED.threshold("series_max", "any") is None


def test_of_other_weights_it_is_refused(tmp_path: Path) -> None:
    FITTED.save(tmp_path)
    with pytest.raises(InputError, match="other weights"):
        load_postprocessing(tmp_path, "cd")


@pytest.mark.parametrize(
    "change",
    [
        {"version": 9},
        {"classes": ["any"]},
        {"calibrator": {"method": "magic", "scale": [1] * 6, "offset": [0] * 6, "knots": []}},
        {"calibrator": {"method": "platt", "scale": [1], "offset": [0], "knots": []}},
        {"unknown": 1},
    ],
)
def test_damaged_it_is_refused(change: dict, tmp_path: Path) -> None:
    path = FITTED.save(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match="not a calibration of this version"):
        load_postprocessing(tmp_path, "ab")
    (tmp_path / CALIBRATION).write_text("{")
    with pytest.raises(InputError, match=r"Run python -m ich_tf\.calibrate"):
        load_postprocessing(tmp_path, "ab")
