"""Augmentation: (batch of slices, seed) -> batch of slices, stateless.

Flip, shift, rotation and change of size are one projective transform, so that each pixel
is interpolated once.
"""

from __future__ import annotations

import functools
import math
import warnings
from types import ModuleType

import tensorflow as tf

from ich_tf.config import TrainConfig
from ich_tf.input_pipeline import Augment


def make_augment(config: TrainConfig) -> Augment | None:
    """What `input_pipeline.train_batches` applies: `augment_batch` of this config.

    Returns:
      None if the config asks for no augmentation.
    """
    if is_identity(config):
        return None
    return functools.partial(augment_batch, config=config)


def is_identity(config: TrainConfig) -> bool:
    """Whether the config leaves every slice as it is."""
    return not (config.flip or config.shift or config.rotate or config.scale)


def augment_batch(images: tf.Tensor, seed: tf.Tensor, config: TrainConfig) -> tf.Tensor:
    """Transforms each slice by its own random draw.

    Args:
      images: uint8 [n, H, W, C]. H, W and C must be known statically.
      seed: int32 or int64 [2]. The same seed gives the same batch.
      config: `flip`, `shift`, `rotate` and `scale` bound the draws.

    Returns:
      uint8 [n, H, W, C], bilinear; 0 (below every window) where the slice does not reach.
    """
    if is_identity(config):
        return images
    number = tf.shape(images)[0]
    height, width = images.shape[1], images.shape[2]
    draws = tf.random.stateless_uniform([5, number], seed, minval=-1.0, maxval=1.0)
    mirror = tf.where(draws[0] < 0, -1.0, 1.0) if config.flip else tf.ones([number])
    transforms = _transforms(
        mirror=mirror,
        right=draws[1] * config.shift * width,
        down=draws[2] * config.shift * height,
        angle=draws[3] * math.radians(config.rotate),
        # Symmetric in the logarithm: enlarging by 1 + s is as likely as shrinking by it.
        size=tf.exp(draws[4] * math.log1p(config.scale)),
        height=height,
        width=width,
    )
    # In float32: the operation truncates to integers, which would darken every slice by half
    # a grey level.
    moved = _addons().image.transform(
        tf.cast(images, tf.float32), transforms, "bilinear", fill_mode="constant", fill_value=0.0
    )
    moved = tf.cast(tf.round(moved), images.dtype)
    return tf.ensure_shape(moved, images.shape)


def _transforms(
    *,
    mirror: tf.Tensor,
    right: tf.Tensor,
    down: tf.Tensor,
    angle: tf.Tensor,
    size: tf.Tensor,
    height: int,
    width: int,
) -> tf.Tensor:
    """Projective transforms from output to input coordinates, float32 [n, 8].

    The input is mirrored, rotated and scaled about its centre, then shifted.

    Args:
      mirror: [n], -1 mirrors left to right, 1 does not.
      right: [n], px.
      down: [n], px.
      angle: [n], radians, clockwise as displayed.
      size: [n], 2 doubles each side.
      height: Of the images, px.
      width: Of the images, px.
    """
    x_center, y_center = (width - 1) / 2, (height - 1) / 2
    cos, sin = tf.cos(angle) / size, tf.sin(angle) / size
    # x_in = mirror * (cos * x + sin * y), y_in = -sin * x + cos * y, from the centre.
    a0, a1 = mirror * cos, mirror * sin
    b0, b1 = -sin, cos
    x_origin, y_origin = x_center + right, y_center + down
    a2 = x_center - (a0 * x_origin + a1 * y_origin)
    b2 = y_center - (b0 * x_origin + b1 * y_origin)
    zero = tf.zeros_like(angle)
    return tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)


@functools.cache
def _addons() -> ModuleType:
    with warnings.catch_warnings():
        # Its end of life is known: this module and `optimizers` alone use it.
        warnings.filterwarnings("ignore", category=UserWarning, module="tensorflow_addons")
        warnings.filterwarnings("ignore", category=UserWarning, message=r"\s*TensorFlow Addons")
        import tensorflow_addons
    return tensorflow_addons  # type: ignore[no-any-return]
