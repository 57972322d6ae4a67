"""Augmentation of batches of slices: random changes that follow from a seed alone.

Flip, shift, rotation and change of size are one projective transform, so that each pixel
is interpolated once. Every change is the same for all channels of a slice: windows and neighbours.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ich_tf.records.input_pipeline import Augment
from ich_tf.runtime.addons import load_addons
from ich_tf.training.config_parts import AugmentationConfig
from ich_tf.windows import HU_RANGE, STEPS_PER_HU

# Window jitter turns about the brain window, 40 +- 40 HU.
_JITTER_CENTER_HU, _JITTER_WIDTH_HU = 40.0, 80.0


def make_augment(config: AugmentationConfig) -> Augment | None:
    """Makes the function that `input_pipeline.train_batches` applies to each batch.

    Returns:
      `augment_batch` of this config; None if the config asks for no augmentation.
    """
    if not (_moves(config) or config.window_jitter or config.cutout or config.mixup):
        return None
    return functools.partial(augment_batch, config=config)


def augment_batch(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Changes each slice by its own random draw.

    Args:
      images: uint8 or uint16 [n, H, W, C]. H, W and C must be known statically.
      labels: float32 [n, 6].
      seed: int32 or int64 [2]. The same seed gives the same batch.
      config: Bounds of the random changes.

    Returns:
      Images of the same shape and type, rounded; 0 (below every window) outside of the moved slice.
      Labels, mixed in the same shares as the images.
    """
    dtype, shape = images.dtype, images.shape
    # A seed of another type would split into other seeds.
    seeds = tf.random.split(tf.cast(seed, tf.int64), 4)
    x = images
    if config.window_jitter:
        x = jitter_windows(x, seeds[0], config.window_jitter)
    if _moves(config):
        x = _move(x, seeds[1], config)
    if config.cutout:
        x = cut_out(x, seeds[2], config.cutout)
    if config.mixup:
        x, labels = mix_up(x, labels, seeds[3], config.mixup)
    if x.dtype != dtype:
        # A cast alone truncates, which would darken every slice by half a grey level.
        x = tf.cast(tf.round(x), dtype)
    return tf.ensure_shape(x, shape), labels


def jitter_windows(stored: tf.Tensor, seed: tf.Tensor, largest: float) -> tf.Tensor:
    """Stretches and shifts the Hounsfield scale, as other windows would.

    Args:
      stored: Hounsfield units as `windows.store_hu` stores them, [n, H, W, C].
      seed: Seed of the draws, int [2].
      largest: Largest change of a window's width, as a share of it; and of its centre, as a share
        of 80 HU.

    Returns:
      float32 [n, H, W, C] within the stored range.
    """
    draws = tf.random.stateless_uniform([2, tf.shape(stored)[0], 1, 1, 1], seed, -1.0, 1.0)
    stretch = tf.exp(draws[0] * math.log1p(largest))
    shift = draws[1] * largest * _JITTER_WIDTH_HU * STEPS_PER_HU
    center = (_JITTER_CENTER_HU - HU_RANGE[0]) * STEPS_PER_HU
    x = (tf.cast(stored, tf.float32) - center) * stretch + center + shift
    return tf.clip_by_value(x, 0.0, (HU_RANGE[1] - HU_RANGE[0]) * STEPS_PER_HU)


def cut_out(images: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    """Blackens a square about a random pixel of each slice (DeVries and Taylor, arXiv:1708.04552).

    Args:
      images: Images of any real type, [n, H, W, C].
      seed: Seed of the draws, int [2].
      share: Side of the square, as a share of the slice's. The part outside of the slice is lost.
    """
    draws = tf.random.stateless_uniform([2, tf.shape(images)[0], 1], seed)

    def covered(size: int, draw: tf.Tensor) -> tf.Tensor:
        return tf.abs(tf.range(size, dtype=tf.float32) + 0.5 - draw * size) < share * size / 2

    rows, columns = covered(images.shape[1], draws[0]), covered(images.shape[2], draws[1])
    inside = rows[:, :, None, None] & columns[:, None, :, None]
    return tf.where(inside, tf.zeros([], images.dtype), images)


def mix_up(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blends each slice with another of its batch (Zhang et al. 2017, arXiv:1710.09412).

    Args:
      images: Images of any real type, [n, H, W, C].
      labels: float32 [n, 6].
      seed: Seed of the draws, int [2].
      alpha: Parameter of Beta(alpha, alpha), from which the shares are drawn. A slice keeps the
        larger share.

    Returns:
      Images, float32 [n, H, W, C], and labels, float32 [n, 6].
    """
    # The batch is shuffled already: the next slice is as good a partner as any.
    seeds = tf.random.split(seed, 2)
    number = tf.shape(images)[:1]
    first = tf.random.stateless_gamma(number, seeds[0], alpha)
    second = tf.random.stateless_gamma(number, seeds[1], alpha)
    # With a small alpha both may round to 0.
    kept = tf.math.divide_no_nan(tf.maximum(first, second), first + second)
    kept = tf.where(first + second > 0, kept, tf.ones_like(kept))

    def blend(x: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, tf.float32)
        share = tf.reshape(kept, [-1, *[1] * (x.shape.rank - 1)])
        return share * x + (1 - share) * tf.roll(x, 1, axis=0)

    return blend(images), blend(labels)


def _moves(config: AugmentationConfig) -> bool:
    return bool(config.flip or config.shift or config.rotate or config.scale)


def _move(images: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig) -> tf.Tensor:
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
    return _transformer()(tf.cast(images, tf.float32), transforms)


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
      mirror: -1 to mirror left to right, 1 not to, [n].
      right: Shifts to the right, px, [n].
      down: Shifts downwards, px, [n].
      angle: Rotations, radians, clockwise as displayed, [n].
      size: Factors of each side, 2 for twice the size, [n].
      height: Height of the images, px.
      width: Width of the images, px.
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
def _transformer() -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Function (float32 [n, H, W, C], transforms [n, 8]) -> float32 [n, H, W, C].

    It interpolates bilinearly, and is 0 outside of the image.
    """
    addons = load_addons()
    if addons is None:
        return _transform
    return functools.partial(
        addons.image.transform, interpolation="bilinear", fill_mode="constant", fill_value=0.0
    )


def _transform(images: tf.Tensor, transforms: tf.Tensor) -> Any:
    """Transforms images with the TensorFlow operation of tensorflow-addons' `transform`."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
