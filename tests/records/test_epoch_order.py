"""The order of an epoch: every slice once, in a pool of bounded size, from any slice on."""

from typing import Any

import numpy as np
import pytest

from ich_tf.records import epoch_order
from ich_tf.records.epoch_order import (
    CHUNK_LENGTH,
    POOL_BYTES,
    POOL_SLICES,
    EpochOrder,
    draw_order,
    pool_chunks,
)

SHARDS = [188, 1, 9, 247, 20]


def order_of(sizes: Any = SHARDS, pool: int = 10, seed: int = 0, **settings) -> EpochOrder:
    return draw_order(np.random.default_rng(seed), sizes, pool, **settings)


def drawn(order: EpochOrder, margin: int = 0, sizes: Any = SHARDS) -> list[tuple[int, int]]:
    """Shard and record of each slice in its turn, by a pool of `pool_chunks` places."""
    pool: dict[int, Any] = {}
    arrivals = iter(order.chunks.tolist())
    slices = []
    for place, number, is_new in order.turns.tolist():
        assert 0 <= place < order.pool_chunks
        if is_new:
            pool[place] = next(arrivals)
        shard, first, count = pool[place]
        record = first + number
        slices.append((shard, record))
        # Its neighbours are in the chunk, or beyond the shard's ends.
        assert first <= max(0, record - margin)
        assert min(sizes[shard] - 1, record + margin) < first + count
    assert next(arrivals, None) is None
    return slices


@pytest.mark.parametrize("pool", [2, 10, 512])
@pytest.mark.parametrize("margin", [0, 1, 2])
def test_every_slice_once_with_its_neighbours(pool: int, margin: int) -> None:
    order = order_of(pool=pool, margin=margin)
    slices = drawn(order, margin)
    everything = {(shard, i) for shard, size in enumerate(SHARDS) for i in range(size)}
    assert set(slices) == everything and len(slices) == len(everything)
    assert order.chunks[:, 2].max() <= CHUNK_LENGTH + 2 * margin


@pytest.mark.parametrize("first", [1, 7, 200, 464])
def test_from_any_slice_on_the_same_order(first: int) -> None:
    kept = [np.random.default_rng(1).random(size) < 0.7 for size in SHARDS]
    for settings in ({}, {"margin": 1}, {"kept": kept}):
        whole = drawn(order_of(**settings))
        assert drawn(order_of(**settings, first=first)) == whole[first:]
    # What was seen is not read again, but for chunks that were begun.
    chunks = len(order_of(first=200).chunks)
    assert chunks <= len(order_of().chunks) - 200 // CHUNK_LENGTH + 10


def test_slices_that_are_left_out() -> None:
    kept = [np.arange(size) % 3 == 0 for size in SHARDS]
    slices = drawn(order_of(kept=kept))
    expected = {(shard, i) for shard, size in enumerate(SHARDS) for i in range(0, size, 3)}
    assert set(slices) == expected and len(slices) == len(expected)
    assert not drawn(order_of(kept=[np.zeros(size, bool) for size in SHARDS]))


def test_the_generator_decides() -> None:
    assert drawn(order_of()) == drawn(order_of())
    assert drawn(order_of()) != drawn(order_of(seed=1))
    assert drawn(order_of()) != drawn(order_of(pool=11))


@pytest.mark.parametrize("margin", [0, 1, 2])
@pytest.mark.parametrize("slice_bytes", [45e3, 196_608, 442_368, 3_145_728])
def test_the_pool_is_bounded_in_bytes_whatever_neighbours_and_encoding(
    slice_bytes: float, margin: int
) -> None:
    chunks = pool_chunks(slice_bytes, margin)
    records = chunks * (CHUNK_LENGTH + 2 * margin)
    assert records * slice_bytes <= POOL_BYTES
    assert chunks * CHUNK_LENGTH <= POOL_SLICES
    # It is used: one more chunk would not fit.
    more = (chunks + 1) * (CHUNK_LENGTH + 2 * margin) * slice_bytes
    assert more > POOL_BYTES or (chunks + 1) * CHUNK_LENGTH > POOL_SLICES


def test_slices_of_a_series_lie_far_apart() -> None:
    """Series of 32 slices, one after the other, in a pool of 128 chunks."""
    sizes = [3200] * 20
    slices = np.array(drawn(order_of(sizes, pool=128), sizes=sizes))
    series = slices[:, 0] * 100 + slices[:, 1] // 32
    places = np.sort(np.argsort(series, kind="stable").reshape(-1, 32), axis=1)
    first, second = np.triu_indices(32, 1)
    distances = places[:, second] - places[:, first]
    # Chunks lie anywhere in the epoch; two places drawn at random are a third of it apart.
    assert np.median(distances) > 0.2 * len(slices)
    # In a batch of 32 a slice meets others of its series as seldom as in a shuffle among 1024.
    batches = places // 32
    mates = (batches[:, :, None] == batches[:, None, :]).sum(axis=2).mean() - 1
    assert mates < 32 * 31 / 1024 / 2
    assert epoch_order.POOL_SLICES >= 1024
