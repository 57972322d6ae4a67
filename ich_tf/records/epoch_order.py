"""Order of the slices of an epoch, in NumPy: it is known before a record is read.

The shards are cut into chunks of consecutive records, which are read in random order. Slices are
then drawn from a pool of chunks: no slice comes before its chunk is read, nor long after. A slice
with its neighbours lies within one chunk, so that it is decoded once with all of them, and an epoch
that is continued reads nothing of what it has seen but the chunks that it is in the midst of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Records of a chunk without its margins. Longer ones are read faster from a disk that turns, and
# need fewer margins; of shorter ones more fit into the pool, which mixes better.
CHUNK_LENGTH = 8
# Largest pool: what it holds decoded, or encoded where each slice is decoded for itself alone.
POOL_BYTES = 512 << 20
POOL_SLICES = 4096


@dataclass(frozen=True, eq=False)
class EpochOrder:
    """The chunks that are read and the slices that are drawn from them.

    Attributes:
      chunks: Shard, first record and number of records of each chunk that is read, in the order of
        reading, int64 [c, 3].
      turns: For each slice, in the order of training, int64 [n, 3]: place in the pool of its chunk,
        number of the slice within the chunk, and 1 if its chunk is to be read now, else 0.
      pool_chunks: Number of chunks that the pool has places for.
    """

    chunks: np.ndarray
    turns: np.ndarray
    pool_chunks: int


def pool_chunks(slice_bytes: float, margin: int) -> int:
    """Number of chunks in a pool.

    Args:
      slice_bytes: Size of a slice in the pool, bytes.
      margin: Number of records before and after a chunk that are read with it.

    Examples:
      >>> pool_chunks(256 * 256 * 3, margin=1) * (CHUNK_LENGTH + 2) * 256 * 256 * 3 <= POOL_BYTES
      True
      >>> pool_chunks(45e3, margin=0) * CHUNK_LENGTH
      4096
    """
    by_bytes = int(POOL_BYTES // (slice_bytes * (CHUNK_LENGTH + 2 * margin)))
    return max(2, min(by_bytes, POOL_SLICES // CHUNK_LENGTH))


def draw_order(
    rng: np.random.Generator,
    num_records: Sequence[int],
    pool: int,
    *,
    margin: int = 0,
    kept: Sequence[np.ndarray] | None = None,
    first: int = 0,
) -> EpochOrder:
    """Draws the order of an epoch.

    Args:
      rng: Generator of the epoch.
      num_records: Number of records of each shard.
      pool: Number of chunks in the pool, 2 or more.
      margin: Number of records before and after a chunk that are read with it.
      kept: For each shard bool [number of its records], False for slices to leave out; None takes
        all.
      first: Number of slices at the start of the order to skip.

    Returns:
      The order. A chunk stays in its place until the last of its slices was drawn.
    """
    cuts = _cut(rng, num_records)
    counts = cuts[:, 2] - cuts[:, 1]
    chunk = np.repeat(np.arange(len(cuts)), counts)
    record = np.arange(len(chunk)) - np.repeat(np.cumsum(counts) - counts, counts) + cuts[chunk, 1]
    if kept is not None:
        starts = np.cumsum([0, *num_records])[:-1]
        wanted = np.concatenate([*kept, np.zeros(0, bool)])[starts[cuts[chunk, 0]] + record]
        chunk, record = chunk[wanted], record[wanted]
    # Chunks are counted, not their slices: however short they are, the pool has places for them.
    used, chunk = np.unique(chunk, return_inverse=True)
    delay = rng.random(len(chunk))
    if len(used):
        # The slice with a chunk's smallest delay has it read.
        least = np.minimum.reduceat(delay, np.flatnonzero(np.diff(chunk, prepend=-1)))
        delay[delay == least[chunk]] = 0
    drawn = np.argsort(chunk + delay * (pool - 1), kind="stable")[first:]
    chunk, record = chunk[drawn], record[drawn]
    opened, opening = np.unique(chunk, return_index=True)
    shard, start, stop = cuts[used[opened]].T
    sizes = np.asarray(num_records, np.int64)[shard]
    low, high = np.maximum(start - margin, 0), np.minimum(stop + margin, sizes)
    is_new = np.zeros(len(chunk), np.int64)
    is_new[opening] = 1
    number = record - low[np.searchsorted(opened, chunk)]
    in_turn = np.argsort(opening)
    return EpochOrder(
        np.stack([shard, low, high - low], axis=1)[in_turn],
        np.stack([chunk % pool, number, is_new], axis=1),
        pool,
    )


def _cut(rng: np.random.Generator, num_records: Sequence[int]) -> np.ndarray:
    """Cuts shards into chunks, each from a random record on, and shuffles the chunks.

    Returns:
      Shard, first record and end of each chunk, int64 [c, 3].
    """
    phases = rng.integers(1, CHUNK_LENGTH + 1, len(num_records)).tolist()
    cuts = [
        (shard, max(0, start), min(start + CHUNK_LENGTH, count))
        for shard, (count, phase) in enumerate(zip(num_records, phases, strict=True))
        for start in range(phase - CHUNK_LENGTH, count, CHUNK_LENGTH)
    ]
    return rng.permutation(np.array(cuts, np.int64).reshape(-1, 3))
