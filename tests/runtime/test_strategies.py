import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ich_tf.errors import InputError, UsageError
from ich_tf.records.manifest import Shard, deal_shards
from ich_tf.runtime.strategies import make_strategy, sum_over_workers, worker_of


def shard(number, records):
    return Shard(Path(f"fold-0-{number:05}"), "fold-0", records, 1, "", (0,) * 6)


def test_shards_are_dealt_evenly_and_each_once() -> None:
    rng = np.random.default_rng(0)
    shards = [shard(i, int(n)) for i, n in enumerate(rng.integers(300, 400, 50))]
    hands = deal_shards(shards, 4)
    assert sorted(s.path.name for hand in hands for s in hand) == [s.path.name for s in shards]
    records = [sum(s.num_records for s in hand) for hand in hands]
    # To within the last shard that was dealt.
    assert max(records) - min(records) <= min(s.num_records for s in shards)
    # Every worker deals for itself: it must come out alike in whatever order they list them.
    assert deal_shards(shards[::-1], 4) == hands


def test_too_few_shards() -> None:
    with pytest.raises(InputError, match=r"1 shards cannot be dealt to 2.*--shard_mb"):
        deal_shards([shard(0, 5), shard(1, 0)], 2)


@pytest.mark.parametrize(
    ("text", "found"),
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
    text: Any, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(
        UsageError, match=rf"TF_CONFIG {found.removeprefix('TF_CONFIG ')}.*Expected"
    ):
        make_strategy("multi_worker")


@pytest.mark.parametrize(("name", "replicas"), [("one", 0), ("mirrored", 2)])
def test_a_process_of_its_own_is_the_chief(name: str, replicas: int) -> None:
    strategy = make_strategy(name, replicas)
    worker = worker_of(strategy)
    assert (worker.index, worker.count, worker.replicas) == (0, 1, replicas or 1)
    assert worker.is_chief
    values = np.array([1.5, 2.5])
    np.testing.assert_array_equal(sum_over_workers(strategy, values), values)
