"""Normalization of grey values as a backbone's pretrained weights expect them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from ich_tf.runtime.keras2 import keras

# ImageNet's mean as the networks know it that come from Caffe: BGR, not divided.
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
# ImageNet's statistics of RGB in 0..1 (github.com/tensorflow/tpu, efficientnet).
_IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
_IMAGENET_STDDEV_RGB = (0.229, 0.224, 0.225)


@keras.saving.register_keras_serializable(package="ich_tf")
class CaffeNormalization(keras.layers.Layer):  # type: ignore[misc]
    """RGB in 0..255 -> BGR less ImageNet's mean, as ResNet50's weights expect; slice by slice."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Normalizes images, float [n, H, W, 3 * slices]."""
        slices = images.shape[-1] // 3
        order = [3 * i + colour for i in range(slices) for colour in (2, 1, 0)]
        mean = tf.constant(_CAFFE_MEAN_BGR * slices, images.dtype)
        return tf.gather(images, order, axis=-1) - mean


@dataclass(frozen=True)
class Normalization:
    """Way in which the three channels of a slice are normalized.

    Attributes:
      scale, offset: Factor and addend of each channel.
      is_caffe: Whether it is that of Caffe instead, which reverses the channels.
    """

    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    is_caffe: bool = False

    def layer(self, neighbours: int) -> keras.layers.Layer:
        """Makes the layer of the name `normalization`.

        Args:
          neighbours: Number of slices, of three channels each.

        Returns:
          A layer: float [n, H, W, neighbours * 3] in 0..255 -> float32 of the same shape.
        """
        if self.is_caffe:
            return CaffeNormalization(name="normalization", dtype="float32")
        return keras.layers.Rescaling(
            list(self.scale) * neighbours,
            list(self.offset) * neighbours,
            name="normalization",
            dtype="float32",
        )

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Normalizes images of one slice, float [n, H, W, 3]."""
        return self.layer(1)(images)


# The modes of keras.applications' preprocess_input, under its names; `none` keeps 0..255.
NORMALIZATIONS = {
    "caffe": Normalization(is_caffe=True),
    "tf": Normalization((1 / 127.5,) * 3, (-1.0,) * 3),
    "torch": Normalization(
        tuple(1 / (255 * stddev) for stddev in _IMAGENET_STDDEV_RGB),  # type: ignore[arg-type]
        tuple(  # type: ignore[arg-type]
            -mean / stddev
            for mean, stddev in zip(_IMAGENET_MEAN_RGB, _IMAGENET_STDDEV_RGB, strict=True)
        ),
    ),
    "none": Normalization(),
}
