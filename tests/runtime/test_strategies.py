"""Strategies: their processes, and a TF_CONFIG that describes none."""

import json
from typing import Any

import numpy as np
import pytest

from ich_tf.errors import UsageError
from ich_tf.runtime.strategies import make_strategy, sum_over_workers, worker_of


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not set"),
        ("{", "is '{'"),
        ("[]", r"is '\[\]'"),
        ('{"cluster": {"worker": ["a:1"]}}', "is '"),
        (
            json.dumps({"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}),
            "is {",
        ),
        (
            json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}),
            "is {",
        ),
    ],
)
def test_tf_config_that_names_no_worker(
    text: Any, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UsageError, match=rf"TF_CONFIG {problem}.*Expected"):
        make_strategy("multi_worker")


@pytest.mark.parametrize(("name", "replicas"), [("one", 0), ("mirrored", 2)])
def test_a_process_of_its_own_is_the_chief(name: str, replicas: int) -> None:
    strategy = make_strategy(name, replicas)
    worker = worker_of(strategy)
    assert (worker.index, worker.count, worker.replicas) == (0, 1, replicas or 1)
    assert worker.is_chief
    values = np.array([1.5, 2.5])
    np.testing.assert_array_equal(sum_over_workers(strategy, values), values)
