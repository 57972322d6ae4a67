"""Random draws of augmentation: for each example of a batch, how much of which change.

All examples of a worker's batch are drawn at once, from a seed alone. A replica that augments a
part of the batch draws for the whole and takes its part: what becomes of a slice depends neither on
the number of replicas nor on where it is computed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from ich_tf.training.config_parts import AugmentationConfig

# Changes that `--augment_operations` chooses from, each at magnitude 10.
OPERATIONS = {
    "shift_right": 0.2,  # share of the side
    "shift_down": 0.2,
    "rotate": math.radians(30),
    "scale": math.log(1.3),
    "shear": 0.2,  # columns per row
    "contrast": math.log(1.4),
    "brightness": 0.2,  # share of the brain window's width, or of all grey levels
    "blur": 0.25,  # share of each neighbouring pixel: (1, 2, 1) / 4
    "noise": 0.1,  # standard deviation, in the unit of brightness
    "cutout": 0.4,  # share of the side
}
MAGNITUDES = 10.0


class Draws(NamedTuple):
    """Changes of each example, float32 [n].

    Attributes:
      mirror: -1 to mirror left to right, 1 not to.
      right: Shift to the right, as a share of the width.
      down: Shift downwards, as a share of the height.
      angle: Rotation, radians, clockwise as displayed.
      log_size: Logarithm of the factor of each side.
      shear: Columns per row.
      log_contrast: Logarithm of the factor of the grey levels.
      brightness: Shift of the grey levels, as a share of the brain window's width.
      blur: Share of each neighbouring pixel, 0 to 1/4.
      noise: Standard deviation of the noise, in the unit of `brightness`.
      noise_row, noise_column: Place in the batch's field of noise, in [0, 1).
      cut_side: Side of the blackened square, as a share of the slice's.
      cut_row, cut_column: Its centre, as a share of the side.
      upside_down: Below 0.5 to reverse the neighbours' order.
      kept: Share that an example keeps when it is blended with the one before it.
    """

    mirror: tf.Tensor
    right: tf.Tensor
    down: tf.Tensor
    angle: tf.Tensor
    log_size: tf.Tensor
    shear: tf.Tensor
    log_contrast: tf.Tensor
    brightness: tf.Tensor
    blur: tf.Tensor
    noise: tf.Tensor
    noise_row: tf.Tensor
    noise_column: tf.Tensor
    cut_side: tf.Tensor
    cut_row: tf.Tensor
    cut_column: tf.Tensor
    upside_down: tf.Tensor
    kept: tf.Tensor

    def of(self, examples: tf.Tensor) -> Draws:
        """Draws of some examples, int32 [m]."""
        return Draws(*(tf.gather(draw, examples) for draw in self))

    def for_stacks(self, slices: int) -> Draws:
        """The same draws for all slices of each example, which lie one after the other."""
        return Draws(*(tf.repeat(draw, slices) for draw in self))


def draw_changes(config: AugmentationConfig, number: tf.Tensor | int, seed: tf.Tensor) -> Draws:
    """Draws the changes of a batch.

    Args:
      config: Bounds of the changes.
      number: Number of examples, n.
      seed: Seed of the batch, int [2].
    """
    # A seed of another type would split into other seeds.
    seeds = tf.random.split(tf.cast(seed, tf.int64), 5)
    window = tf.random.stateless_uniform([2, number], seeds[0], -1.0, 1.0)
    move = tf.random.stateless_uniform([5, number], seeds[1], -1.0, 1.0)
    cut = tf.random.stateless_uniform([3, number], seeds[2])
    none = tf.zeros([number])
    noise_place = tf.random.stateless_uniform([2, number], tf.random.split(seeds[4], 3)[0])
    draws = Draws(
        mirror=tf.where(move[0] < 0, -1.0, 1.0) if config.flip else none + 1,
        right=move[1] * config.shift,
        down=move[2] * config.shift,
        angle=move[3] * math.radians(config.rotate),
        # Symmetric in the logarithm: enlarging by 1 + s is as likely as shrinking by it.
        log_size=move[4] * math.log1p(config.scale),
        shear=none,
        log_contrast=window[0] * math.log1p(config.window_jitter),
        brightness=window[1] * config.window_jitter,
        blur=none,
        noise=none,
        noise_row=noise_place[0],
        noise_column=noise_place[1],
        cut_side=none + config.cutout,
        cut_row=cut[0],
        cut_column=cut[1],
        upside_down=cut[2],
        kept=_kept_shares(number, seeds[3], config.mixup) if config.mixup else none + 1,
    )
    return _with_operations(draws, config, number, seeds[4]) if config.augment_operations else draws


def _with_operations(
    draws: Draws, config: AugmentationConfig, number: tf.Tensor | int, seed: tf.Tensor
) -> Draws:
    """Adds some of `OPERATIONS` to each example, each with a random sign."""
    seeds = tf.random.split(seed, 3)
    ranks = tf.argsort(tf.argsort(tf.random.stateless_uniform([number, len(OPERATIONS)], seeds[1])))
    chosen = tf.cast(ranks < config.augment_operations, tf.float32)
    signs = tf.sign(tf.random.stateless_uniform([number, len(OPERATIONS)], seeds[2], -1.0, 1.0))
    amount = dict(zip(OPERATIONS, tf.unstack(chosen, axis=1), strict=True))
    for name, largest in OPERATIONS.items():
        amount[name] *= largest * config.augment_magnitude / MAGNITUDES
    signed = {
        name: amount[name] * sign
        for name, sign in zip(OPERATIONS, tf.unstack(signs, axis=1), strict=True)
    }
    return draws._replace(
        right=draws.right + signed["shift_right"],
        down=draws.down + signed["shift_down"],
        angle=draws.angle + signed["rotate"],
        log_size=draws.log_size + signed["scale"],
        shear=signed["shear"],
        log_contrast=draws.log_contrast + signed["contrast"],
        brightness=draws.brightness + signed["brightness"],
        blur=amount["blur"],
        noise=amount["noise"],
        cut_side=tf.maximum(draws.cut_side, amount["cutout"]),
    )


def _kept_shares(number: tf.Tensor | int, seed: tf.Tensor, alpha: float) -> tf.Tensor:
    """The larger of two shares from Beta(alpha, alpha), float32 [n]."""
    seeds = tf.random.split(seed, 2)
    first = tf.random.stateless_gamma([number], seeds[0], alpha)
    second = tf.random.stateless_gamma([number], seeds[1], alpha)
    # With a small alpha both may round to 0.
    kept = tf.math.divide_no_nan(tf.maximum(first, second), first + second)
    return tf.where(first + second > 0, kept, tf.ones_like(kept))
