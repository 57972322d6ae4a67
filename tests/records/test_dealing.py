"""Shards are dealt to workers: evenly, each once, alike on every worker."""

from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import InputError
from ich_tf.records.manifest import Shard, deal_shards


def shard(number: int, records: int) -> Shard:
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
