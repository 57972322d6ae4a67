"""Augmentation of batches of slices: random changes that follow from a seed alone.

Flip, shift, rotation, shear and change of size are one projective transform, so that each pixel is
interpolated once. Every change is the same for all channels of a slice and for all slices of an
example, its neighbours or its slab.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ich_tf.records.masked_labels import MaskedLabels
from ich_tf.training.augmentation_draws import Draws, draw_changes
from ich_tf.training.config_parts import AugmentationConfig
from ich_tf.windows import HU_RANGE, STEPS_PER_HU

# Contrast turns about the middle of the brain window, 40 +- 40 HU, or of the grey levels.
_CENTER_HU, _WIDTH_HU = 40.0, 80.0
# Rows between the noise of two slices of an example in the batch's field of noise.
_NOISE_STRIDE = 37


def augments(config: AugmentationConfig) -> bool:
    """Whether a config asks for any augmentation."""
    return bool(
        _moves(config)
        or config.window_jitter
        or config.cutout
        or config.mixup
        or config.flip_z
        or config.augment_operations
    )


def augment_batch(
    images: tf.Tensor,
    labels: Any,
    seed: tf.Tensor,
    config: AugmentationConfig,
    *,
    number: int | None = None,
    examples: tf.Tensor | None = None,
) -> tuple[tf.Tensor, Any]:
    """Changes each example by its own random draw.

    Args:
      images: uint8, or uint16 as `windows.store_hu`, [m, H, W, C], or slices of each example
        [m, k, H, W, C]; all but m must be known statically.
      labels: float32 [m, ...]; or `MaskedLabels`, whose masks are moved as the images are, without
        mixup.
      seed: int32 or int64 [2]. The same seed gives the same batch.
      config: Bounds of the random changes.
      number: Number of examples of the whole batch, if the images are a part of it.
      examples: Index in the whole batch of each example, int32 [m]. With mixup the first of them is
        only blended into the second, and is not returned.

    Returns:
      Images of the same shape and type, rounded; 0 (below every window) outside of the moved slice.
      Labels, mixed in the same shares as the images. Nothing is marked outside of the moved slice,
      nor where it is blackened.
    """
    draws = draw_changes(config, number or tf.shape(images)[0], seed)
    if examples is not None:
        draws = draws.of(examples)
    dtype = images.dtype
    if config.flip_z:
        turned = draws.upside_down[:, None, None, None, None] < 0.5
        images = tf.where(turned, images[:, ::-1], images)
    slices = images.shape[1] if images.shape.rank == 5 else 1
    x = _change_slices(
        tf.reshape(images, [-1, *images.shape[-3:]]), draws.for_stacks(slices), seed, slices, config
    )
    x = tf.reshape(x, tf.concat([tf.shape(images)[:1], images.shape[1:]], axis=0))
    if config.mixup:
        is_part = examples is not None
        x = blend_with_previous(x, draws.kept, is_part=is_part)
        labels = blend_with_previous(labels, draws.kept, is_part=is_part)
    if x.dtype != dtype:
        # A cast alone truncates, which would darken every slice by half a grey level.
        x = tf.cast(tf.round(x), dtype)
    if isinstance(labels, MaskedLabels):
        labels = labels._replace(mask=_change_masks(labels.mask, draws, config))
    size = tf.nest.flatten(labels)[0].shape[0]
    return tf.ensure_shape(x, [size, *images.shape[1:]]), labels


def _change_masks(mask: tf.Tensor, draws: Draws, config: AugmentationConfig) -> tf.Tensor:
    """Moves and cuts bit masks, uint8 [n, H, W], as `_change_slices` does the images."""
    x = mask[..., None]
    operations = config.augment_operations > 0
    if _moves(config) or operations:
        x = move(x, draws, nearest=True)
    if config.cutout or operations:
        x = cut_out(x, draws)
    return x[..., 0]


def _change_slices(
    x: tf.Tensor, draws: Draws, seed: tf.Tensor, slices: int, config: AugmentationConfig
) -> tf.Tensor:
    """Changes slices [n, H, W, C], `slices` of each example, by draws [n]."""
    stored_hu = x.dtype == tf.uint16
    operations = config.augment_operations > 0
    if config.window_jitter or operations:
        x = change_grey_levels(x, draws, stored_hu=stored_hu)
    if _moves(config) or operations:
        x = move(x, draws)
    if operations:
        x = blur(x, draws.blur)
        x = add_noise(x, draws, seed, slices=slices, stored_hu=stored_hu)
    if config.cutout or operations:
        x = cut_out(x, draws)
    return x


def change_grey_levels(images: tf.Tensor, draws: Draws, *, stored_hu: bool) -> tf.Tensor:
    """Stretches the grey levels about their middle and shifts them, as another window would.

    Args:
      images: Images of any real type, [n, H, W, C].
      draws: Contrast and brightness of each.
      stored_hu: Whether grey levels are Hounsfield units as `windows.store_hu` stores them.

    Returns:
      float32 [n, H, W, C] within the stored range.
    """
    center, width, largest = _grey_levels(stored_hu)
    stretch, shift = tf.exp(_spread(draws.log_contrast)), _spread(draws.brightness) * width
    x = (tf.cast(images, tf.float32) - center) * stretch + center + shift
    return tf.clip_by_value(x, 0.0, largest)


def move(images: tf.Tensor, draws: Draws, *, nearest: bool = False) -> tf.Tensor:
    """Mirrors, rotates, shears and scales images about their centre, then shifts them.

    Args:
      images: Images of any real type, [n, H, W, C].
      draws: Movement of each.
      nearest: Whether a pixel takes the value of the nearest one, as bits must, instead of one
        between its neighbours'.

    Returns:
      float32 [n, H, W, C], interpolated bilinearly, or of the images' type and nearest; 0 outside
      of the image.
    """
    if not nearest:
        images = tf.cast(images, tf.float32)
    # The operation has kernels for CPUs and GPUs, and is what tensorflow-addons calls.
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms(draws, height=images.shape[1], width=images.shape[2]),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="NEAREST" if nearest else "BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(moved, images.shape)


def transforms(draws: Draws, *, height: int, width: int) -> tf.Tensor:
    """Projective transforms from output to input coordinates, float32 [n, 8].

    Args:
      draws: Movement of each image.
      height: Height of the images, px.
      width: Width of the images, px.
    """
    x_center, y_center = (width - 1) / 2, (height - 1) / 2
    size = tf.exp(draws.log_size)
    cos, sin = tf.cos(draws.angle) / size, tf.sin(draws.angle) / size
    # x_in = mirror * (cos * x + sin * y), y_in = -sin * x + cos * y, from the centre, where a row
    # is sheared by x - shear * y first.
    a0, a1 = draws.mirror * cos, draws.mirror * (sin - draws.shear * cos)
    b0, b1 = -sin, cos + draws.shear * sin
    x_origin, y_origin = x_center + draws.right * width, y_center + draws.down * height
    a2 = x_center - (a0 * x_origin + a1 * y_origin)
    b2 = y_center - (b0 * x_origin + b1 * y_origin)
    zero = tf.zeros_like(a0)
    return tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)


def blur(images: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Gives each pixel a share of its four neighbours: (s, 1 - 2s, s) along rows and columns.

    Args:
      images: float32 [n, H, W, C].
      share: float32 [n], 0 to 1/4.
    """
    weight = _spread(share)
    for axis in (1, 2):
        padding = [[int(i == axis)] * 2 for i in range(4)]
        padded = tf.pad(images, padding, "SYMMETRIC")
        size = images.shape[axis]
        before, behind = (tf.gather(padded, tf.range(at, at + size), axis=axis) for at in (0, 2))
        images += weight * (before + behind - 2 * images)
    return images


def add_noise(
    images: tf.Tensor, draws: Draws, seed: tf.Tensor, *, slices: int, stored_hu: bool
) -> tf.Tensor:
    """Adds normal noise: a field that is drawn for the batch, from another place for each slice.

    Args:
      images: float32 [n, H, W, C].
      draws: Standard deviation and place of each.
      seed: Seed of the batch, int [2].
      slices: Number of slices of an example.
      stored_hu: Whether grey levels are Hounsfield units as `windows.store_hu` stores them.
    """
    _, width, largest = _grey_levels(stored_hu)
    rows, columns = images.shape[1], images.shape[2]
    field = tf.random.stateless_normal([rows, columns], tf.cast(seed, tf.int64) + 1)
    within = tf.range(tf.shape(images)[0]) % slices * _NOISE_STRIDE
    row = tf.cast(draws.noise_row * rows, tf.int32) + within
    column = tf.cast(draws.noise_column * columns, tf.int32)
    rolled = tf.gather(field, (row[:, None] + tf.range(rows)) % rows)
    places = (column[:, None] + tf.range(columns)) % columns
    rolled = tf.gather(rolled, places, axis=2, batch_dims=1)
    noisy = images + (draws.noise * width)[:, None, None, None] * rolled[..., None]
    return tf.clip_by_value(noisy, 0.0, largest)


def cut_out(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Blackens a square about a random pixel of each slice (DeVries and Taylor, arXiv:1708.04552).

    Args:
      images: Images of any real type, [n, H, W, C].
      draws: Side and centre of the squares. The part outside of the slice is lost.
    """

    def covered(size: int, centre: tf.Tensor) -> tf.Tensor:
        distance = tf.abs(tf.range(size, dtype=tf.float32) + 0.5 - centre[:, None] * size)
        return distance < draws.cut_side[:, None] * size / 2

    rows = covered(images.shape[1], draws.cut_row)
    columns = covered(images.shape[2], draws.cut_column)
    inside = rows[:, :, None, None] & columns[:, None, :, None]
    return tf.where(inside, tf.zeros([], images.dtype), images)


def blend_with_previous(x: tf.Tensor, kept: tf.Tensor, *, is_part: bool = False) -> tf.Tensor:
    """Blends each example with the one before it (Zhang et al. 2017, arXiv:1710.09412).

    Args:
      x: Images or labels of any real type, [n, ...].
      kept: Share that an example keeps, float32 [n].
      is_part: Whether the first example is only there for the second.

    Returns:
      float32 [n, ...], or [n - 1, ...] of a part.
    """
    # The batch is shuffled already: the slice before is as good a partner as any.
    x = tf.cast(x, tf.float32)
    before = x[:-1] if is_part else tf.roll(x, 1, axis=0)
    if is_part:
        x, kept = x[1:], kept[1:]
    share = tf.reshape(kept, [-1, *[1] * (x.shape.rank - 1)])
    return share * x + (1 - share) * before


def _moves(config: AugmentationConfig) -> bool:
    return bool(config.flip or config.shift or config.rotate or config.scale)


def _spread(draws: tf.Tensor) -> Any:
    """float32 [n] as [n, 1, 1, 1]."""
    return draws[:, None, None, None]


def _grey_levels(stored_hu: bool) -> tuple[float, float, float]:
    """Middle, width of the brain window, and largest value of the stored grey levels."""
    if not stored_hu:
        return 127.5, 255.0, 255.0
    middle = (_CENTER_HU - HU_RANGE[0]) * STEPS_PER_HU
    return middle, _WIDTH_HU * STEPS_PER_HU, (HU_RANGE[1] - HU_RANGE[0]) * STEPS_PER_HU
