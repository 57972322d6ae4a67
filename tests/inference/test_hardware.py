"""The precision of predictions: the same on every CPU, half on GPUs, or as asked for."""

import logging
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.inference import hardware
from ich_tf.inference.hardware import choose_inference_hardware
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.metrics import sigmoid
from ich_tf.models.saved import save_best
from ich_tf.models.spec import ModelSpec
from ich_tf.runtime.precision import Device
from ich_tf.runtime.strategies import make_strategy


@pytest.mark.parametrize(
    ("requested", "device", "expected"),
    [
        ("auto", Device("CPU", has_bfloat16=True), {"float32"}),
        ("bfloat16", Device("CPU"), {"bfloat16"}),
        ("auto", Device("GPU", compute_capability=(8, 0)), {"float16", "bfloat16"}),
        ("auto", Device("GPU", compute_capability=(6, 0)), {"float32"}),
        ("float32", Device("GPU", compute_capability=(8, 0)), {"float32"}),
    ],
)
def test_the_devices_choose(
    requested: str,
    device: Device,
    expected: set[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(hardware, "devices_of", lambda strategy: (device,))
    with caplog.at_level(logging.INFO):
        assert choose_inference_hardware(requested).precision in expected
    assert "precision" in caplog.text


def test_float32_is_the_same_on_gpus_and_cpus() -> None:
    execution = tf.config.experimental
    execution.enable_tensor_float_32_execution(True)
    try:
        choose_inference_hardware("float32")
        assert not execution.tensor_float_32_execution_enabled()
    finally:
        execution.enable_tensor_float_32_execution(True)


def test_a_model_predicts_in_the_precision_that_is_asked_for(tmp_path: Path) -> None:
    spec = ModelSpec("tiny", (32, 32, 3), 32, ("brain", "subdural", "soft"))
    save_best(tmp_path, spec.build(), spec, epoch=1, val_loss=0.5)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    logits = {}
    for precision in ("float32", "bfloat16", "float16"):
        predictor = load_predictor(tmp_path, make_strategy("one"), precision=precision)
        assert predictor.precision == precision
        logits[precision] = predictor.logits(images)
    assert load_predictor(tmp_path, make_strategy("one")).precision == "float32"
    for precision in ("bfloat16", "float16"):
        assert not np.array_equal(logits[precision], logits["float32"])
        np.testing.assert_allclose(
            sigmoid(logits[precision]), sigmoid(logits["float32"]), atol=0.01
        )
