"""A scanner: planes through a head -> Hounsfield units.

A slice is the mean of thin sub-slices (partial volume), on a grid of about 1 mm that imitates the
scanner's blur, resampled to the matrix. Bone bends the values near it: cupping along the
skull, dark bars between the petrous pyramids (beam hardening). Then come motion and noise.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from ich_tf.labels import SUBTYPES
from ich_tf.phantom.basic.head import HEAD_BOX, Head
from ich_tf.phantom.basic.lesions import Bleeds, paint
from ich_tf.phantom.basic.place import locate
from ich_tf.phantom.bit_masks import bit_mask
from ich_tf.phantom.geometry import Geometry, Pose
from ich_tf.phantom.shapes import find_region, share

THICKNESS_MM = 5.0
_SUB_SLICES = 3
_GRID = 216
_MAX_HU = 3071
# Pixel size for which `noise_hu` is given: 230 mm over 512 pixels.
_NOISE_PIXEL_MM = 0.45


@dataclasses.dataclass(frozen=True)
class Defects:
    """Noise and motion of a scan.

    Attributes:
      noise_hu: Standard deviation of the noise in the brain at 0.45 mm pixels.
      motion: Slices during which the patient moved: the first, and the one after the last.
      motion_mm: Scale of the motion.
    """

    noise_hu: float
    motion: tuple[int, int] = (0, 0)
    motion_mm: float = 0.0


def place_scan(
    rng: np.random.Generator, head: Head, matrix: int, tilted: bool
) -> tuple[Pose, Geometry]:
    """Draws the position of a head in the scanner, and the planes that cover it.

    Args:
      rng: Random generator of the study.
      head: The head.
      matrix: Rows and columns of a slice.
      tilted: Whether the gantry is tilted.
    """
    angles = np.radians(rng.normal(0.0, (4.0, 2.5, 5.0)))
    # The origin of patient coordinates depends on the table, and is arbitrary.
    center = np.array([rng.normal(0, 3), rng.normal(-20, 25), rng.uniform(-200, 900)])
    pose = Pose(_rotation(*angles), center)
    view_mm = float(rng.choice([225.0, 230.0, 240.0]))
    tilt = math.radians(-rng.uniform(8.0, 24.0)) if tilted else 0.0
    row, column = np.array([1.0, 0.0, 0.0]), np.array([0.0, math.cos(tilt), math.sin(tilt)])
    normal = np.cross(row, column)
    low, high = rng.uniform(-66, -54) * head.scale, rng.uniform(72, 84) * head.scale
    count = int(np.clip(round((high - low) / THICKNESS_MM), 24, 40))
    along = low + THICKNESS_MM * np.arange(count)
    # The table moves along z while the gantry is tilted; its slices are then centred anew.
    offset = np.zeros(count)
    if tilted and rng.uniform() < 0.3:
        # Base and crown reconstructed around two centres: z alone misorders where they meet.
        view_mm = 250.0
        jump = 1.25 * THICKNESS_MM * math.cos(tilt) / abs(math.sin(tilt))
        offset = np.where(np.arange(count) < count // 3, -0.5, 0.5) * min(jump, 26.0)
    spacing = round(view_mm / matrix, 6)
    corner = -0.5 * spacing * (matrix - 1)
    wander = rng.normal(0, 2.5, 2)
    positions = (
        center
        + along[:, None] * normal
        + (corner + wander[0]) * row
        + (corner + wander[1] + offset[:, None]) * column
    )
    orientation = tuple(round(float(value), 6) for value in (*row, *column))
    geometry = Geometry(
        spacing_mm=spacing,
        orientation=orientation,  # type: ignore[arg-type]
        positions_mm=np.round(positions, 6),
        tilt_deg=math.degrees(tilt),
    )
    return pose, geometry


def scan(
    rng: np.random.Generator,
    head: Head,
    bleeds: Bleeds,
    pose: Pose,
    geometry: Geometry,
    defects: Defects,
    matrix: int,
    min_area_mm2: float,
    lowest_hu: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Scans a head.

    Args:
      rng: Random generator of noise and motion.
      head: The head.
      bleeds: Bleeds in that head.
      pose: Position of the head in the scanner.
      geometry: Position of the slices, S of them.
      defects: Noise and motion.
      matrix: Rows and columns of a slice.
      min_area_mm2: Smallest area of a subtype in a slice that the masks contain.
      lowest_hu: Smallest value that the files can store.

    Returns:
      Hounsfield units, int16 [S, matrix, matrix]; masks, uint8 of the same shape, bit k for
      class k in the order of `labels.CLASSES`.
    """
    count = len(geometry.positions_mm)
    hu = np.empty((count, matrix, matrix), np.int16)
    masks = np.zeros((count, matrix, matrix), np.uint8)
    for index in range(count):
        image, blood = _plane(head, bleeds, pose, geometry, index, matrix)
        image = _harden(rng, image, geometry.spacing_mm * matrix / _GRID)
        if defects.motion[0] <= index < defects.motion[1]:
            image = _move(rng, image, defects.motion_mm)
        masks[index] = bit_mask(blood, geometry.spacing_mm * matrix / _GRID, matrix, min_area_mm2)
        image = _resize(image, matrix)
        image += _noise(rng, image, geometry.spacing_mm, defects.noise_hu)
        hu[index] = np.rint(np.clip(image, lowest_hu, _MAX_HU))
    return hu, masks


def _plane(
    head: Head, bleeds: Bleeds, pose: Pose, geometry: Geometry, index: int, matrix: int
) -> tuple[np.ndarray, np.ndarray]:
    """Hounsfield units of one slice, [_GRID, _GRID], and each subtype's share, [5, ...]."""
    row, column = np.reshape(geometry.orientation, (2, 3))
    step = geometry.spacing_mm * matrix / _GRID
    first = geometry.positions_mm[index] + 0.5 * (step - geometry.spacing_mm) * (row + column)
    to_head = pose.rotation.T / head.scale
    depths = (np.arange(_SUB_SLICES) + 0.5) / _SUB_SLICES - 0.5
    origins = (first - pose.center_mm) + THICKNESS_MM * depths[:, None] * geometry.normal
    origins, along_row, along_column = origins @ to_head.T, to_head @ row, to_head @ column
    pixels = np.arange(_GRID, dtype=np.float32) * np.float32(step)
    x, y, z = (
        origins[:, axis].astype(np.float32)[:, None, None]
        + (pixels * np.float32(along_column[axis]))[None, :, None]
        + (pixels * np.float32(along_row[axis]))[None, None, :]
        for axis in range(3)
    )
    flat = np.full((_GRID, _GRID), -1000.0, np.float32)
    blood = np.zeros((len(SUBTYPES), _GRID, _GRID), np.float32)
    if region := find_region((x, y, z), *HEAD_BOX):
        place = locate(head, x[region], y[region], z[region], bleeds.shift_mm)
        image, shares = paint(head, bleeds, place)
        flat[region[1:]] = image.mean(axis=0)
        blood[(slice(None), *region[1:])] = shares.mean(axis=1)
    # The headrest.
    across = (pixels + np.float32(first[0] - pose.center_mm[0]))[None, :]
    down = (pixels + np.float32((first - pose.center_mm) @ column))[:, None]
    rest = np.hypot(across, down + 14.0) - 122.0 * head.scale
    shell = share(2.0 - np.abs(rest)) * share(down - 62.0, 4.0)
    flat += shell * (flat < -500.0) * 820.0
    return flat, blood


def _harden(rng: np.random.Generator, image: np.ndarray, step: float) -> np.ndarray:
    """Adds beam hardening: cupping along the skull, dark bars between dense bones."""
    bone = np.clip((image - 250.0) / 1000.0, 0.0, 1.2)
    head = (image > -300.0).astype(np.float32)
    glow = 8.0 * cv2.GaussianBlur(bone, (0, 0), 5.0 / step)
    # Bone along each row, mm: only skull base has more than the two walls of the skull.
    path = bone.sum(axis=1) * step
    excess = cv2.GaussianBlur(np.clip(path - 34.0, 0.0, 60.0), (0, 0), 1.5 / step)
    left = np.cumsum(bone, axis=1)
    between = 4.0 * left * (left[:, -1:] - left) / np.maximum(left[:, -1:], 1.0) ** 2
    bars = excess * (0.40 + 0.10 * rng.standard_normal((len(path), 1)).astype(np.float32))
    bars = bars - 0.5 * cv2.GaussianBlur(bars, (0, 0), 5.0 / step)
    return np.asarray(image + head * (glow - bars * between) * (1.0 - np.minimum(bone, 1.0)))


def _move(rng: np.random.Generator, image: np.ndarray, distance_mm: float) -> np.ndarray:
    """Adds motion: a part of the projections sees the head at another position."""
    turn = cv2.getRotationMatrix2D((_GRID / 2, _GRID / 2), float(rng.uniform(-3, 3)), 1.0)
    turn = np.column_stack([turn[:, :2], turn[:, 2] + rng.normal(0, distance_mm, 2)])
    moved = cv2.warpAffine(image, turn, (_GRID, _GRID), borderValue=(-1000.0,))
    weight = float(rng.uniform(0.3, 0.5))
    return np.asarray((1 - weight) * image + weight * moved, np.float32)


def _resize(image: np.ndarray, matrix: int) -> np.ndarray:
    interpolation = cv2.INTER_AREA if matrix < _GRID else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (matrix, matrix), interpolation=interpolation))


def _noise(
    rng: np.random.Generator, image: np.ndarray, spacing: float, noise_hu: float
) -> np.ndarray:
    """Noise with a scanner's grain, stronger in the middle and where bone absorbs the photons."""
    noise = rng.standard_normal(image.shape, np.float32)
    grain = 0.55 / spacing
    if grain > 0.4:
        # A soft-tissue kernel passes middle frequencies.
        noise = cv2.GaussianBlur(noise, (0, 0), grain) - 0.55 * cv2.GaussianBlur(
            noise, (0, 0), 2.2 * grain
        )
        noise /= noise.std()
    bone = cv2.resize((image > 250.0).astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA)
    bone = cv2.GaussianBlur(bone, (0, 0), 2.0)
    head = cv2.GaussianBlur(
        cv2.resize((image > -300.0).astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA),
        (0, 0), 2.0,
    )  # fmt: skip
    level = cv2.resize(
        0.35 + 0.6 * head + 2.2 * bone**1.5, image.shape, interpolation=cv2.INTER_LINEAR
    )
    sigma = noise_hu * min(1.0, math.sqrt(_NOISE_PIXEL_MM / spacing))
    return np.asarray(noise * level * np.float32(sigma))


def _rotation(pitch: float, roll: float, yaw: float) -> np.ndarray:
    """Rotation matrix of angles about x (a nod), y and z (a turn), radians."""
    c, s = np.cos([pitch, roll, yaw]), np.sin([pitch, roll, yaw])
    nod = np.array([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]])
    lean = np.array([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]])
    turn = np.array([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]])
    return np.asarray(turn @ lean @ nod)
