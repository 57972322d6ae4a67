"""Records of a shard -> each with those beside it in its series, still serialized."""

from __future__ import annotations

import tensorflow as tf

from ich_tf.records.images import decode_image


def with_neighbours(records: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """Each record with those before and after it.

    Args:
      records: Serialized records of one shard, in its order, in which a series is contiguous.
      count: Of records in a window; odd.

    Returns:
      string [count] for each record, which stands in the middle; empty beyond the shard's ends.
    """
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
    height, width, channels = image_shape
    slices = [decode_image(encoded[i], encoding, image_shape) for i in range(encoded.shape[0])]
    return tf.ensure_shape(tf.concat(slices, axis=-1), (height, width, len(slices) * channels))
