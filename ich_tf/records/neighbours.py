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

    Examples:
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
    """Windows of records: each record with those before and after it.

    Args:
      records: Serialized records of one shard, in its order, in which a series is contiguous.
      count: Number of records per window, odd.

    Returns:
      A dataset of string [count], with each record in the middle of its window; empty strings
      beyond the shard's ends.
    """
    import tensorflow as tf

    half = count // 2

    def push(window: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        window = tf.concat([window[1:], record[None]], axis=0)
        return window, window

    padding = tf.data.Dataset.from_tensors("").repeat(half)
    windows = records.concatenate(padding).scan(tf.fill([count], ""), push)
    return windows.skip(half)


def same_series(series_keys: tf.Tensor) -> tf.Tensor:
    """Number of the record to read at each place of a window.

    Args:
      series_keys: Series of each record, string [count]. A series is contiguous: all records
        between two of its records belong to it.

    Returns:
      int32 [count], rising; beyond an end of the series of the middle, its last record again.
    """
    import tensorflow as tf

    count = series_keys.shape[0]
    half = count // 2
    same = tf.cast(series_keys == series_keys[half], tf.int32)
    num_before, num_behind = tf.reduce_sum(same[:half]), tf.reduce_sum(same[half + 1 :])
    return tf.clip_by_value(tf.range(count), half - num_before, half + num_behind)


def places_in_chunk(series_keys: tf.Tensor, count: int) -> tf.Tensor:
    """`same_series` for every record of a run of records at once.

    Args:
      series_keys: Series of each record, string [n], as for `same_series`.
      count: Number of records per window, odd.

    Returns:
      int32 [n, count], for each record those of its window; right for records that have
      `count // 2` others on either side, or the shard's end.
    """
    import tensorflow as tf

    number = tf.size(series_keys)
    same = tf.cast(series_keys[:, None] == series_keys[None, :], tf.int32)
    first = tf.argmax(same, axis=1, output_type=tf.int32)
    last = number - 1 - tf.argmax(same[:, ::-1], axis=1, output_type=tf.int32)
    windows = tf.range(number)[:, None] + tf.range(count) - count // 2
    return tf.clip_by_value(windows, first[:, None], last[:, None])


def as_channels(stacks: tf.Tensor) -> tf.Tensor:
    """Slices and their neighbours, [n, count, H, W, C], as images, [n, H, W, count * C]."""
    import tensorflow as tf

    number, count, height, width, channels = stacks.shape
    turned = tf.transpose(stacks, [0, 2, 3, 1, 4])
    return tf.reshape(turned, [number or -1, height, width, count * channels])


def slab_of(series_keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Numbers of the records of a window that belong to the series of its middle.

    Args:
      series_keys: Series of each record, string [count], as for `same_series`.

    Returns:
      int32 [count], the numbers of these records, then the last of them again; and bool [count],
      True for the former.
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
    """Decodes a window: the slice in its middle and its neighbours, as channels.

    Args:
      encoded: Encoded images, string [count].
      series_keys: Series of each record, string [count].
      encoding: Image format.
      image_shape: Rows, columns and channels (H, W, C) of each image.

    Returns:
      uint8 or uint16 [H, W, count * C].
    """
    import tensorflow as tf

    return decode_stack(tf.gather(encoded, same_series(series_keys)), encoding, image_shape)


def decode_stack(encoded: tf.Tensor, encoding: str, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """Decodes images, and concatenates their channels, slice after slice.

    Args:
      encoded: Encoded images, string [count].
      encoding: Image format.
      image_shape: Rows, columns and channels (H, W, C) of each image.

    Returns:
      uint8 or uint16 [H, W, count * C].
    """
    import tensorflow as tf

    height, width, channels = image_shape
    slices = [decode_image(encoded[i], encoding, image_shape) for i in range(encoded.shape[0])]
    return tf.ensure_shape(tf.concat(slices, axis=-1), (height, width, len(slices) * channels))
