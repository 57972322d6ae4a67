"""Layers from records to the input of a backbone, before its normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.runtime.keras2 import keras
from ich_tf.windows import preset_windows, window_table


def preprocess(
    x: tf.Tensor, image_size: int, hu_windows: Sequence[str], neighbours: int
) -> tf.Tensor:
    """Records -> float32 [n, image_size, image_size, neighbours * 3] in 0..255.

    Args:
      x: Records, as `slice_model.build_model` reads them.
      image_size: Height and width of the result, px.
      hu_windows: Window presets to apply; empty for records that are windowed already.
      neighbours: Number of slices along the channels.
    """
    if hu_windows:
        x = HounsfieldWindows(hu_windows, name="windows", dtype="float32")(x)
    x = Resize(image_size, name="resize", dtype="float32")(x)
    return x if x.shape[-1] == 3 * neighbours else _three_channels(x, neighbours)


def _three_channels(x: tf.Tensor, neighbours: int) -> tf.Tensor:
    """[n, H, W, neighbours * C] -> [n, H, W, neighbours * 3], each slice by the same weights."""
    _, height, width, channels = x.shape
    slice_channels = channels // neighbours
    # Starts as the mean of the channels in each of the three, within the 0..255 that pretrained
    # weights know. In float32: bfloat16 steps by 1 at 255.
    common = {
        "use_bias": False,
        "kernel_initializer": keras.initializers.Constant(1.0 / slice_channels),
        "dtype": "float32",
        "name": "channels",
    }
    if neighbours == 1:
        return keras.layers.Conv2D(3, 1, **common)(x)
    x = keras.layers.Reshape((height, width, neighbours, slice_channels), dtype="float32")(x)
    x = keras.layers.Dense(3, **common)(x)
    return keras.layers.Reshape((height, width, neighbours * 3), dtype="float32")(x)


@keras.saving.register_keras_serializable(package="ich_tf")
class HounsfieldWindows(keras.layers.Layer):  # type: ignore[misc]
    """Stored Hounsfield units [n, H, W, N] -> grey values 0..255, float32 [n, H, W, N * C].

    Looked up, not computed: exactly `windows.apply_windows`, with XLA or without.
    """

    def __init__(self, windows: Sequence[str], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.windows = list(windows)
        self._table = window_table(preset_windows(windows)).T.astype(np.float32)

    def call(self, stored: tf.Tensor) -> tf.Tensor:
        """Applies the windows."""
        grey = tf.gather(tf.constant(self._table), tf.cast(stored, tf.int32))
        _, height, width, slices = stored.shape
        return tf.reshape(grey, [-1, height, width, slices * self._table.shape[1]])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "windows": self.windows}


@keras.saving.register_keras_serializable(package="ich_tf")
class Resize(keras.layers.Layer):  # type: ignore[misc]
    """[n, H, W, C] of any real type -> float32 [n, size, size, C], bilinear with antialias.

    Two matrix products with the weights of `tf.image.resize(antialias=True)`, whose own
    operation (ScaleAndTranslate) XLA cannot compile.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.size = size

    def build(self, input_shape: tf.TensorShape) -> None:
        """Computes the weights of the resizing from [n, H, W, C]."""
        self._rows = resize_matrix(input_shape[1], self.size)
        self._columns = resize_matrix(input_shape[2], self.size)
        super().build(input_shape)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Resizes images."""
        x = tf.cast(images, tf.float32)
        if self._rows is not None:
            x = tf.einsum("ih,nhwc->niwc", self._rows, x)
        if self._columns is not None:
            x = tf.einsum("jw,niwc->nijc", self._columns, x)
        return x

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "size": self.size}


def resize_matrix(size: int, new_size: int) -> np.ndarray | None:
    """Weights of `Resize` along one axis, float32 [new_size, size]; None for equal sizes."""
    if size == new_size:
        return None
    with tf.init_scope():
        identity = tf.eye(size)[:, :, None]
        rows = tf.image.resize(identity, (new_size, size), antialias=True)[..., 0]
        matrix: np.ndarray = rows.numpy()
    return matrix
