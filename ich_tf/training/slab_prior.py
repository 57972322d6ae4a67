"""Prior probability of each class for a slab of slices, as end-to-end training draws it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ich_tf.records.manifest import Shard
from ich_tf.records.neighbours import slab_of
from ich_tf.records.record_streams import parse_window
from ich_tf.records.slabs import read_slabs, slab_middles

# Slabs enough for a start: the standard error of a share of 0.1 is then 0.005. More would be read
# from the disk for long.
_MAX_SLABS = 4096


def slab_prior(shards: Sequence[Shard], slices: int) -> np.ndarray:
    """Computes the share of the slabs in which a slice shows each class.

    Args:
      shards: Shards that training reads.
      slices: Number of slices of a slab, odd.

    Returns:
      float64 [6], of at most 4,096 slabs.
    """

    def positive(window: tf.Tensor) -> tf.Tensor:
        _, keys, fields = parse_window(window, ["labels"])
        chosen, _ = slab_of(keys)
        # What stands for empty places is the last slice again.
        return tf.reduce_max(tf.gather(fields["labels"], chosen), axis=0)

    middles = slab_middles(shards, slices, phase=slices // 2)
    windows = read_slabs(shards, slices, middles[:_MAX_SLABS])
    labels = [batch.numpy() for batch in windows.map(positive).batch(256)]
    return np.asarray(np.concatenate(labels).mean(axis=0, dtype=np.float64))
