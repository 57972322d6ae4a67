"""Strategies: their processes, and a TF_CONFIG that describes none."""

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import UsageError
from ich_tf.runtime import strategies
from ich_tf.runtime.strategies import count_replicas, make_strategy, sum_over_workers, worker_of
from tests.support.steps import replicas


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not set"),
        ("{", "is '{'"),
        ("[]", r"is '\[\]'"),
        ('{"cluster": {"worker": ["a:1"]}}', "is '"),
        (
            json.dumps({"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}),
            "is '{",
        ),
        (
            json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}),
            "is '{",
        ),
    ],
)
def test_tf_config_that_names_no_worker(
    text: Any, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UsageError, match=rf"TF_CONFIG {problem}.*Expected"):
        make_strategy("multi_worker")


@pytest.mark.parametrize(("name", "cpus", "gpus"), [("one", 0, 2), ("mirrored", 3, 2)])
def test_replicas_are_counted_before_there_is_a_strategy(
    name: str, cpus: int, gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert count_replicas(name, cpus) == (cpus or 1)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU"] * gpus)
    assert count_replicas(name, cpus) == (cpus or 1)
    assert count_replicas("mirrored") == gpus
    cluster = {"worker": ["a:1", "b:1", "c:1"]}
    config = {"cluster": cluster, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert count_replicas("multi_worker") == 3 * gpus


def test_memory_of_gpus_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    set_growth = "set_memory_growth"
    monkeypatch.setattr(
        tf.config.experimental, set_growth, lambda gpu, grows: calls.append((gpu, grows))
    )
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first", "second"])
    make_strategy("one", cpu_replicas=1)
    assert calls == [("first", True), ("second", True)]


@pytest.mark.parametrize(("name", "replicas"), [("one", 0), ("mirrored", 2)])
def test_a_process_of_its_own_is_the_chief(name: str, replicas: int) -> None:
    strategy = make_strategy(name, replicas)
    worker = worker_of(strategy)
    assert (worker.index, worker.count, worker.replicas) == (0, 1, replicas or 1)
    assert worker.is_chief
    values = np.array([1.5, 2.5])
    np.testing.assert_array_equal(sum_over_workers(strategy, values), values)


def test_parts_lie_on_the_devices_that_have_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two logical CPUs stand for GPUs."""
    strategy = replicas(2)
    monkeypatch.setattr(strategies, "_has_memory", lambda device: True)
    batch = tf.range(8)
    (parts,) = strategies.split_batch(strategy, batch)
    local = strategy.experimental_local_results(parts)
    assert [part.numpy().tolist() for part in local] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [part.device[-5:] for part in local] == ["CPU:0", "CPU:1"]
    monkeypatch.undo()
    assert not strategies._has_memory("/job:localhost/replica:0/task:0/device:CPU:1")
    assert strategies._has_memory("/job:localhost/replica:0/task:0/device:GPU:1")
