"""A scan: slices through a painted head, with what surrounds it and what the scanner adds."""

from __future__ import annotations

import math

import cv2
import numpy as np

from ich_tf.phantom.bit_masks import bit_mask
from ich_tf.phantom.full.scanner.artefacts import Artefacts, Motion
from ich_tf.phantom.full.scanner.extent import Extent, Paint
from ich_tf.phantom.full.scanner.holder import Holder, draw_holder
from ich_tf.phantom.full.scanner.linen import Linen, draw_linen
from ich_tf.phantom.full.scanner.noise import Grain, Resolution
from ich_tf.phantom.full.scanner.projection import SIZE
from ich_tf.phantom.full.scanner.protocol import Protocol
from ich_tf.phantom.full.scanner.sampling import DrawingGrid, draw_plane
from ich_tf.phantom.geometry import Geometry, Pose

# The highest value of 12 bits with the usual intercept.
_MAX_HU = 3071
# Below this a pixel has room for a holder; 600 HU lower it is air alone.
_ROOM_HU = -350.0
# Distance between the nodes of tissue's unevenness.
_MOTTLE_MM = 1.6
# Thickness for which a protocol's noise is given.
_NOISE_MM = 5.0


def scan(
    rng: np.random.Generator,
    paint: Paint,
    protocol: Protocol,
    extent: Extent,
    pose: Pose,
    geometry: Geometry,
    matrix: int,
    min_area_mm2: float,
    lowest_hu: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Scans a head.

    Args:
      rng: Random generator of the study.
      paint: The head, with its bleeds.
      protocol: How the head is scanned.
      extent: Points of the head.
      pose: Position of the head in the scanner.
      geometry: Position of the slices, S of them, with an acquisition.
      matrix: Rows and columns of a slice.
      min_area_mm2: Smallest area of a subtype in a slice that the masks contain.
      lowest_hu: Smallest value that the files can store.

    Returns:
      Hounsfield units, int16 [S, matrix, matrix]; masks, uint8 of the same shape, bit k for
      class k in the order of `labels.CLASSES`.
    """
    assert geometry.acquisition is not None
    thickness = geometry.acquisition.thickness_mm
    count = len(thickness)
    # Each part has a generator of its own: what one of them draws moves no other.
    around, moves, slices = (np.random.default_rng(rng.integers(1 << 63)) for _ in range(3))
    surroundings = Surroundings(around, extent, pose, geometry)
    moving = _draw_motion(moves, protocol, count)
    grid = DrawingGrid(geometry, matrix)
    resolution = Resolution(protocol.kernel, grid, matrix)
    grain = Grain(protocol.kernel, protocol.smoothing, matrix, geometry.spacing_mm)
    artefacts = Artefacts(protocol, grid.size * grid.step_mm, grain.density)
    to_coarse = _to_coarse(grid, matrix)
    hu = np.empty((count, matrix, matrix), np.int16)
    masks = np.zeros((count, matrix, matrix), np.uint8)
    for index in range(count):
        own = np.random.default_rng(slices.integers(1 << 63))
        image, blood = draw_plane(
            paint, extent, pose, geometry, grid, index, thickness[index] * protocol.profile
        )
        masks[index] = bit_mask(grid.inner(blood), grid.step_mm, matrix, min_area_mm2)
        surroundings.paint(image, grid, index)
        motion = None
        if moving[0] <= index < moving[1]:
            image, motion = _move(own, image, grid.step_mm)
        noise_hu = protocol.noise_hu * math.sqrt(_NOISE_MM / thickness[index])
        added, level = artefacts(own, image, noise_hu, motion)
        image += (image + 1000.0) * np.float32(0.001 * protocol.water_hu)
        image += _mottle(own, grid, protocol.mottle_hu) * (image > _ROOM_HU)
        image += cv2.resize(added, (grid.size, grid.size), interpolation=cv2.INTER_LINEAR)
        result = resolution(image)
        noisy = cv2.warpAffine(
            level, to_coarse, (matrix, matrix), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        result += grain.draw(own) * noisy * np.float32(noise_hu)
        hu[index] = np.rint(np.clip(result, lowest_hu, _MAX_HU))
    return hu, masks


class Surroundings:
    """What the head of one scan lies in, and what lies about it."""

    def __init__(
        self, rng: np.random.Generator, extent: Extent, pose: Pose, geometry: Geometry
    ) -> None:
        """Draws it.

        Args:
          rng: Random generator of what surrounds the head.
          extent: Points of the head.
          pose: Position of the head.
          geometry: Position of the slices.
        """
        self._holder: Holder = draw_holder(rng)
        self._linen: Linen = draw_linen(rng)
        placed = extent.tissue @ pose.rotation.T
        # The neck lies lower than the head does.
        back = placed[extent.tissue[:, 2] > -50.0, 1].max()
        self._origin = pose.center_mm + np.array([0.0, back, 0.0])
        self._geometry = geometry

    def paint(self, hu: np.ndarray, grid: DrawingGrid, index: int) -> None:
        """Adds it to a slice, in place.

        Args:
          hu: Hounsfield units, float32 [size, size].
          grid: Grid of the image.
          index: Number of the slice.
        """
        first, along = grid.points(index)
        first = first - self._origin
        column = np.array(self._geometry.orientation[3:])
        # Rows are horizontal, whatever the tilt.
        x = (np.float32(first[0]) + along)[None, :]
        y = (np.float32(first[1]) + along * np.float32(column[1]))[:, None]
        z = (np.float32(first[2]) + along * np.float32(column[2]))[:, None]
        air = np.clip((_ROOM_HU - hu) * np.float32(1 / 600.0), 0.0, 1.0)
        self._linen.paint(hu, air, x, y, z, grid.step_mm)
        self._holder.paint(hu, air, x, y, z)


def _to_coarse(grid: DrawingGrid, matrix: int) -> np.ndarray:
    """Affine map from an image's pixels to those of the projections, float64 [2, 3]."""
    scale = SIZE * grid.view_mm / (grid.size * grid.step_mm) / matrix
    start = SIZE * grid.margin / grid.size
    offset = start + 0.5 * scale - 0.5
    return np.array([[scale, 0.0, offset], [0.0, scale, offset]])


def _mottle(rng: np.random.Generator, grid: DrawingGrid, mottle_hu: float) -> np.ndarray:
    """Unevenness of tissue, float32 [size, size], of that standard deviation."""
    coarse = round(grid.size * grid.step_mm / _MOTTLE_MM)
    noise = rng.standard_normal((coarse, coarse), np.float32)
    noise = np.asarray(cv2.resize(noise, (grid.size, grid.size), interpolation=cv2.INTER_LINEAR))
    # Between its nodes a linear interpolation keeps two thirds of the deviation.
    return np.asarray(noise * np.float32(1.5 * mottle_hu))


def _draw_motion(rng: np.random.Generator, protocol: Protocol, count: int) -> tuple[int, int]:
    """The slices during which the patient moves: the first, and the one after the last."""
    start, length = int(rng.integers(0, count)), int(rng.integers(2, 6))
    return (start, start + length) if protocol.moving else (0, 0)


def _move(rng: np.random.Generator, image: np.ndarray, step_mm: float) -> tuple[np.ndarray, Motion]:
    """A slice during which the head moved by up to 3 degrees and about 2 mm."""
    size = image.shape[0]
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), float(rng.uniform(-3.0, 3.0)), 1.0)
    turn = np.column_stack([turn[:, :2], turn[:, 2] + rng.normal(0.0, 2.0, 2) / step_mm])
    moved = cv2.warpAffine(image, turn, (size, size), borderMode=cv2.BORDER_REPLICATE)
    start = float(rng.uniform(0.0, 0.6))
    end = start + float(rng.uniform(0.2, 0.5))
    change = np.asarray(moved - image)
    share = min(end, 1.0) - start
    return np.asarray(image + np.float32(share) * change), Motion(change, start, end)
