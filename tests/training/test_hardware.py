"""What a run computes with, by its devices and its network."""

import subprocess
import sys
from typing import Any

import pytest

from ich_tf.runtime.precision import Device
from ich_tf.training import hardware
from ich_tf.training.config import TrainConfig
from ich_tf.training.hardware import choose_hardware
from tests.support.commands import ROOT
from tests.support.steps import replicas

# A task that uses TensorFlow when it is made, as those over series do.
_PROGRAM = """
import tensorflow as tf
from ich_tf.runtime.strategies import make_strategy
from ich_tf.training import trainer
from ich_tf.training.config import TrainConfig

def make_task(config):
    tf.constant(1)
    print("replicas:", make_strategy("mirrored", 2).num_replicas_in_sync)
    raise SystemExit

trainer.make_task = make_task
trainer.train(TrainConfig(strategy="mirrored", cpu_replicas=2))
"""


@pytest.mark.parametrize(
    ("settings", "number", "xla", "reason"),
    [
        ({}, 2, True, "fuses kernels"),
        ({"backbone": "bigru"}, 1, False, "cuDNN"),
        ({"backbone": "transformer"}, 1, True, "fuses kernels"),
        ({"sequence": "bigru"}, 1, False, "cuDNN"),
        ({"sync_bn": True}, 2, False, "sums over the replicas"),
        ({"sync_bn": True}, 1, True, "fuses kernels"),
        ({"backbone": "bigru", "xla": "on"}, 1, True, "as requested"),
    ],
)
def test_xla_by_the_network(
    settings: Any, number: int, xla: bool, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Device("GPU", (8, 0))
    monkeypatch.setattr(hardware, "devices_of", lambda strategy: [gpu] * number)
    chosen = choose_hardware(TrainConfig(**{"weights": "none", **settings}), replicas(number))
    assert chosen.xla.value is xla and reason in chosen.xla.reason
    assert chosen.precision.value == "bfloat16"
    assert chosen.describe()["tf32"] == "on"


def test_tasks_may_use_tensorflow_before_there_are_replicas() -> None:
    command = [sys.executable, "-c", _PROGRAM]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "replicas: 2" in done.stdout, done.stderr
