"""Neighbours: which slices a network sees beside a slice, in NumPy and in TensorFlow graphs.

A network that sees `count` slices sees each slice in the middle of its window; beyond an end of
the series the last slice is repeated. The functions for NumPy load no TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ich_tf.records.images import decode_image

if TYPE_CHECKING:
    import tensorflow as tf


def neighbour_places(num_slices: int, count: int) -> np.ndarray:
    """Places in a series that are seen with each of its slices.

    Args:
      num_slices: Number of slices of the series, n.
      count: Number of slices that the network sees at once, odd.

    Returns:
      int64 [n, count], each in 0..n-1, rising along a row.

    Example:
      >>> neighbour_places(3, 3).tolist()
      [[0, 0, 1], [0, 1, 2], [1, 2, 2]]
    """
    offsets = np.arange(count) - count // 2
    return np.clip(np.arange(num_slices)[:, None] + offsets, 0, num_slices - 1)


def neighbour_places_graph(num_slices: tf.Tensor, count: int) -> tf.Tensor:
    """`neighbour_places` in a graph: int32 [] -> int32 [n, count]."""
    import tensorflow as tf

    offsets = tf.range(count) - count // 2
    return tf.clip_by_value(tf.range(num_slices)[:, None] + offsets, 0, num_slices - 1)


def with_neighbours(records: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """Each record with those before and after it.

    Args:
      records: Serialized records of one shard, in its order, in which a series is contiguous.
      count: Of records in a window; odd.

    Returns:
      string [count] for each record, which stands in the middle; empty beyond the shard's ends.
    """
    import tensorflow as tf

    half = count // 2

    def push(window: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        window = tf.concat([window[1:], record[None]], axis=0)
        return window, window

    after = tf.data.Dataset.from_tensors("").repeat(half)
    windows = records.concatenate(after).scan(tf.fill([count], ""), push)
    return windows.skip(half)


def same_series(series_keys: tf.Tensor) -> tf.Tensor:
    """Which record to read at each place of a window.

    Args:
      series_keys: string [count]. A series is contiguous, so that whatever lies between two of its
        records is of it as well.

    Returns:
      int32 [count], in rising order: beyond an end of the middle's series, its last slice again.
    """
    import tensorflow as tf

    count = series_keys.shape[0]
    half = count // 2
    same = tf.cast(series_keys == series_keys[half], tf.int32)
    before, after = tf.reduce_sum(same[:half]), tf.reduce_sum(same[half + 1 :])
    return tf.clip_by_value(tf.range(count), half - before, half + after)


def slab_of(series_keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which records of a window are of its middle's series.

    Args:
      series_keys: string [count], as of `same_series`.

    Returns:
      int32 [count], these records one after the other, and then the last of them again; and bool
      [count], True for the former.
    """
    import tensorflow as tf

    count = series_keys.shape[0]
    same = tf.cast(series_keys == series_keys[count // 2], tf.int32)
    first, number = tf.argmax(same, output_type=tf.int32), tf.reduce_sum(same)
    places = tf.range(count)
    return first + tf.minimum(places, number - 1), places < number


def decode_window(
    encoded: tf.Tensor, series_keys: tf.Tensor, encoding: str, image_shape: tuple[int, int, int]
) -> tf.Tensor:
    """The images of a window about its middle, as `decode_stack`.

    Args:
      encoded: string [count], the stored images.
      series_keys: string [count].
      encoding: Of the images.
      image_shape: H, W, C of each.

    Returns:
      uint8 or uint16 [H, W, count * C].
    """
    import tensorflow as tf

    return decode_stack(tf.gather(encoded, same_series(series_keys)), encoding, image_shape)


def decode_stack(encoded: tf.Tensor, encoding: str, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """Images slice after slice along the channels.

    Args:
      encoded: string [count], the stored images.
      encoding: Of the images.
      image_shape: H, W, C of each.

    Returns:
      uint8 or uint16 [H, W, count * C].
    """
    import tensorflow as tf

    height, width, channels = image_shape
    slices = [decode_image(encoded[i], encoding, image_shape) for i in range(encoded.shape[0])]
    return tf.ensure_shape(tf.concat(slices, axis=-1), (height, width, len(slices) * channels))
