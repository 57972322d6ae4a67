"""Display windows: Hounsfield units to the grey values that a network reads.

A slice is resized first and windowed afterwards: the other order moved 1.5 % of the pixels by more
than 16 grey levels on a real series. The intermediate result is the stored form, uint16: a record
of stored Hounsfield units and a record of windows give a network identical grey values.

`*_graph` functions compute the same in a TensorFlow graph, for exported models. TensorFlow is
imported inside them, so that importing this module does not load it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ich_tf.errors import ConfigError

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = [
    "HU_RANGE",
    "PRESETS",
    "STEPS_PER_HU",
    "Window",
    "apply_windows",
    "preset_windows",
    "quantize_hu",
    "resize_hu",
    "store_hu",
    "stored_to_hu",
    "window_slice",
    "window_table",
]

# Values that a 12-bit scanner can store. Padding (-1500, -2000) lies outside; unclipped, an area
# resize would mix it into the pixels of the head.
HU_RANGE = (-1024.0, 3071.0)
# The stored form counts sixteenths of a Hounsfield unit from -1024: 65,520 of 65,536 values.
# Area averages of integers have fractions; a 256 px PNG with them takes 65 KiB, without them 48.
STEPS_PER_HU = 16
# Added before rounding, in steps. Every sixteenth mean of integers over 16/7 by 16/7 pixels (512 px
# to 224) lies halfway between two steps, where the last bit of a sum decides, which no two
# implementations share. The nudge is larger than that noise, and is 0.001 HU.
TIE_NUDGE = 1 / 64


@dataclass(frozen=True)
class Window:
    """A display window.

    Attributes:
      center: Hounsfield units shown as mid-grey.
      width: Hounsfield units between black and white, above 0.
    """

    center: float
    width: float

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
          ValueError: If the width is not above 0, or a number is not finite.
        """
        if not (math.isfinite(self.center) and 0 < self.width < math.inf):
            raise ValueError(f"{self} is no window; expected a finite centre and a width above 0")


PRESETS = {
    "brain": Window(40, 80),
    "subdural": Window(80, 200),
    "soft": Window(40, 380),
    "stroke": Window(32, 8),
    "bone": Window(600, 2800),
}


def preset_windows(names: Sequence[str]) -> tuple[Window, ...]:
    """Returns the windows with the given names.

    Args:
      names: One or more keys of `PRESETS`.

    Raises:
      ConfigError: If a name is unknown, or `names` is empty.

    Examples:
      >>> preset_windows(["brain", "bone"])
      (Window(center=40, width=80), Window(center=600, width=2800))
    """
    unknown = [name for name in names if name not in PRESETS]
    if unknown or not names:
        raise ConfigError(
            f"windows: got {','.join(names) or 'none'}; expected one or more of "
            f"{', '.join(PRESETS)}, separated by commas."
        )
    return tuple(PRESETS[name] for name in names)


def resize_hu(hu: np.ndarray, size: int) -> np.ndarray:
    """Clips a slice to `HU_RANGE`, pads it to a square with air, and resizes it.

    Args:
      hu: Hounsfield units, float32 [H, W].
      size: Rows and columns of the result, px.

    Returns:
      Hounsfield units, float32 [size, size]: area averages where the slice shrinks, bilinear
      interpolation where it grows.
    """
    clipped = np.clip(hu, *HU_RANGE)
    rows, columns = clipped.shape
    if rows != columns:
        side = max(rows, columns)
        top, left = (side - rows) // 2, (side - columns) // 2
        square = np.full((side, side), HU_RANGE[0], np.float32)
        square[top : top + rows, left : left + columns] = clipped
        clipped = square
    if clipped.shape[0] == size:
        return clipped
    interpolation = cv2.INTER_AREA if clipped.shape[0] > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(clipped, (size, size), interpolation=interpolation))


def resize_hu_graph(hu: tf.Tensor, size: int) -> tf.Tensor:
    """`resize_hu` in a graph, for slices of any rows and columns.

    Args:
      hu: Hounsfield units, float64 [n, H, W].
      size: Rows and columns of the result, px.

    Returns:
      float64 [n, size, size].
    """
    import tensorflow as tf

    clipped = tf.clip_by_value(hu, *HU_RANGE)
    rows, columns = tf.shape(hu)[1], tf.shape(hu)[2]
    side = tf.maximum(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    padding = [[0, 0], [top, side - rows - top], [left, side - columns - left]]
    square = tf.pad(clipped, padding, constant_values=tf.constant(HU_RANGE[0], tf.float64))
    return resize_square_graph(square, size)


def resize_square_graph(images: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Resizes square images as OpenCV does: area averages, or bilinear where they grow.

    Args:
      images: Images, float [n, side, side].
      size: Rows and columns of the result, px.

    Returns:
      [n, size, size], of the type of `images`.
    """
    import tensorflow as tf

    side = tf.shape(images)[1]
    weights = tf.cond(
        side > size, lambda: _area_weights(side, size), lambda: _linear_weights(side, size)
    )
    weights = tf.cast(weights, images.dtype)
    return tf.einsum("ih,nhw,jw->nij", weights, images, weights)


def _area_weights(side: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Weights of OpenCV's INTER_AREA: the share of an output pixel that an input pixel covers.

    Args:
      side: Number of input pixels, int32 [].
      size: Number of output pixels.

    Returns:
      float64 [size, side], rows of sum 1.
    """
    import tensorflow as tf

    scale = tf.cast(side, tf.float64) / tf.cast(size, tf.float64)
    first = tf.cast(tf.range(size), tf.float64)[:, None] * scale
    pixels = tf.cast(tf.range(side), tf.float64)
    covered = tf.minimum(pixels + 1, first + scale) - tf.maximum(pixels, first)
    return tf.maximum(covered, 0) / scale


def _linear_weights(side: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Weights of OpenCV's INTER_LINEAR: bilinear between pixel centres, edge pixels repeated.

    Args:
      side: Number of input pixels, int32 [].
      size: Number of output pixels.

    Returns:
      float64 [size, side], rows of sum 1.
    """
    import tensorflow as tf

    scale = tf.cast(side, tf.float64) / tf.cast(size, tf.float64)
    centres = (tf.cast(tf.range(size), tf.float64) + 0.5) * scale - 0.5
    centres = tf.clip_by_value(centres, 0, tf.cast(side - 1, tf.float64))
    pixels = tf.cast(tf.range(side), tf.float64)
    return tf.maximum(1 - tf.abs(centres[:, None] - pixels), 0)


def store_hu(hu: np.ndarray, size: int) -> np.ndarray:
    """Resizes a slice and converts it to the stored form.

    Args:
      hu: Hounsfield units, float32 [H, W].
      size: Rows and columns of the result, px.

    Returns:
      (HU + 1024) * `STEPS_PER_HU`, rounded, uint16 [size, size].

    Examples:
      >>> store_hu(np.array([[-1024, 40]], np.float32), 2).tolist()
      [[0, 17024], [0, 0]]
    """
    return quantize_hu(resize_hu(hu, size))


def quantize_hu(hu: np.ndarray) -> np.ndarray:
    """Converts Hounsfield units within `HU_RANGE`, float32, to the stored form, uint16."""
    steps = (hu - np.float32(HU_RANGE[0])) * np.float32(STEPS_PER_HU)
    return np.asarray(np.rint(steps + np.float32(TIE_NUDGE)), np.uint16)


def quantize_hu_graph(hu: tf.Tensor) -> tf.Tensor:
    """`quantize_hu` in a graph: float64 -> int32, which `tf.gather` takes as an index."""
    import tensorflow as tf

    steps = (hu - HU_RANGE[0]) * STEPS_PER_HU
    return tf.cast(tf.math.rint(steps + TIE_NUDGE), tf.int32)


def stored_to_hu(stored: float) -> float:
    """Converts a stored value, or a mean of stored values, to Hounsfield units."""
    return stored / STEPS_PER_HU + HU_RANGE[0]


def apply_windows(stored: np.ndarray, windows: Sequence[Window]) -> np.ndarray:
    """Applies windows to a stored slice, a channel for each.

    Args:
      stored: Result of `store_hu`, uint16 [H, W].
      windows: The C windows.

    Returns:
      Grey values, uint8 [H, W, C]: 0 at center - width / 2 and below, 255 at center + width / 2
      and above.

    Raises:
      ValueError: If the slice is of another type: Hounsfield units go through `store_hu` first.

    Examples:
      >>> hu = np.array([[0, 40], [60, 80]], np.float32)
      >>> apply_windows(store_hu(hu, 2), preset_windows(["brain"]))[..., 0].tolist()
      [[0, 128], [191, 255]]
    """
    if stored.dtype != np.uint16:
        raise ValueError(
            f"the slice is of type {stored.dtype}; expected uint16. Pass Hounsfield units through "
            "`store_hu` first."
        )
    # mode="clip": every uint16 is a valid index, and the check for others takes time.
    if len(windows) == 3:
        # One look-up of four bytes, of which one is dropped, takes 0.4 of the time of three.
        packed = np.take(_packed_table(tuple(windows)), stored, mode="clip")
        pixels = packed.view(np.uint8).reshape(*stored.shape, 4)
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR))
    table = window_table(tuple(windows))
    channels = [np.take(grey, stored, mode="clip") for grey in table]
    return np.asarray(cv2.merge(channels)).reshape(*stored.shape, len(windows))


def apply_windows_graph(stored: tf.Tensor, windows: Sequence[Window]) -> tf.Tensor:
    """`apply_windows` in a graph: int32 [..., H, W] -> float32 [..., H, W, C], 0 to 255."""
    import tensorflow as tf

    table = window_table(tuple(windows)).T.astype(np.float32)
    return tf.gather(tf.constant(table), stored)


@functools.lru_cache(maxsize=8)
def window_table(windows: tuple[Window, ...]) -> np.ndarray:
    """Tabulates the grey value of each stored value, by LINEAR_EXACT (PS3.3 C.11.2.1.3.2).

    A table, because NumPy, TensorFlow and XLA may round a computed value differently.

    Returns:
      uint8 [C, 65536].
    """
    hu = np.arange(1 << 16) / STEPS_PER_HU + HU_RANGE[0]
    rows = [
        np.rint(np.clip((hu - (window.center - window.width / 2)) / window.width * 255, 0, 255))
        for window in windows
    ]
    return np.asarray(np.stack(rows), np.uint8)


@functools.lru_cache(maxsize=8)
def _packed_table(windows: tuple[Window, ...]) -> np.ndarray:
    """`window_table` of three windows, packed: uint32 [65536], a byte for each window."""
    table = np.zeros((1 << 16, 4), np.uint8)
    table[:, :3] = window_table(windows).T
    return table.view(np.uint32)[:, 0]


def window_slice(hu: np.ndarray, size: int, windows: Sequence[Window]) -> np.ndarray:
    """Resizes and windows a slice as conversion and prediction do.

    Args:
      hu: Hounsfield units, float32 [H, W].
      size: Rows and columns of the result, px.
      windows: The C windows.

    Returns:
      Grey values, uint8 [size, size, C].
    """
    return apply_windows(store_hu(hu, size), windows)
