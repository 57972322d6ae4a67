"""Precision and XLA by the hardware, and the strategies that hold the devices."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import UsageError
from ich_tf.runtime import precision
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.precision import (
    Choice,
    Device,
    choose_precision,
    choose_xla,
    devices_of,
    policy_scope,
    set_tf32,
)
from ich_tf.runtime.strategies import make_strategy

CPU = Device("CPU")
CPU_BFLOAT16 = Device("CPU", has_bfloat16=True)
VOLTA = Device("GPU", (7, 0))
AMPERE = Device("GPU", (8, 0))
PASCAL = Device("GPU", (6, 1))
UNKNOWN = Device("GPU")


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ([CPU], "float32"),
        ([CPU_BFLOAT16] * 2, "bfloat16"),
        ([VOLTA] * 4, "float16"),
        ([Device("GPU", (7, 5))], "float16"),
        ([AMPERE] * 2, "bfloat16"),
        ([AMPERE, VOLTA], "float16"),
        ([VOLTA, PASCAL], "float32"),
        ([UNKNOWN], "float32"),
    ],
)
def test_auto_precision(devices: Any, expected: str) -> None:
    choice = choose_precision("auto", devices)
    assert choice.value == expected
    assert choice.reason


@pytest.mark.parametrize("requested", ["float32", "float16", "bfloat16"])
def test_a_request_is_granted(requested: str) -> None:
    assert choose_precision(requested, [CPU]).value == requested


def test_xla() -> None:
    assert choose_xla("auto", [VOLTA]).value is True
    assert choose_xla("auto", [CPU]).value is False
    assert choose_xla("on", [CPU]).value is True
    assert choose_xla("off", [VOLTA]).value is False
    assert choose_xla("auto", [VOLTA], "a reason") == Choice(False, "a reason")
    assert choose_xla("on", [VOLTA], "a reason").value is True


def test_tf32() -> None:
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    try:
        assert set_tf32(False, [AMPERE]).value is False and not enabled()
        assert set_tf32(True, [AMPERE, VOLTA]).value is True and enabled()
        assert set_tf32(True, [VOLTA]) == Choice(False, "no GPU from Ampere on")
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)


def test_cpu_flags(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor\t: 1\n")
    assert precision._cpu_flags(path) == {"fpu", "avx2", "avx512_bf16"}
    assert precision._cpu_flags(tmp_path / "none") == frozenset()
    (tmp_path / "arm").write_text("Features : fp asimd bf16\n")
    assert precision._cpu_flags(tmp_path / "arm") == frozenset()


@pytest.mark.parametrize(("name", "replicas"), [("one", 0), ("mirrored", 0), ("mirrored", 2)])
def test_strategies_and_their_devices(name: str, replicas: int) -> None:
    strategy = make_strategy(name, replicas)
    devices = devices_of(strategy)
    assert len(devices) == strategy.num_replicas_in_sync
    if replicas:
        assert [device.kind for device in devices] == ["CPU"] * replicas


def test_too_many_replicas_for_a_running_tensorflow() -> None:
    tf.constant(1) + 1
    with pytest.raises(UsageError, match=r"cpu_replicas is 7.*4 logical CPU"):
        make_strategy("mirrored", 7)


def test_a_strategy_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="expected one of one, mirrored"):
        make_strategy("tpu")


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_policy_scope(name: str) -> None:
    before = keras.mixed_precision.global_policy().name
    with policy_scope(name):
        layer = keras.layers.Dense(2)
        output = layer(np.ones((1, 3), np.float32))
    assert output.dtype == name
    assert layer.kernel.dtype == tf.float32
    assert keras.mixed_precision.global_policy().name == before
