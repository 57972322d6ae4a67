"""Position of a head in the scanner, and of the slices that cover it."""

from __future__ import annotations

import math

import numpy as np

from ich_tf.phantom.full.scanner.extent import Extent
from ich_tf.phantom.full.scanner.protocol import Protocol
from ich_tf.phantom.geometry import Acquisition, Geometry, Pose

# Heads of the head frame whose slices are parallel to its floor: nod, lean, degrees.
_NOD_DEG, _LEAN_DEG = 6.0, 3.0


def draw_scan(
    rng: np.random.Generator, protocol: Protocol, extent: Extent, matrix: int
) -> tuple[Pose, Geometry]:
    """Draws the position of a head in the scanner, and the slices that cover it.

    Slices follow the floor of the skull up to a nod of 0 +- 6 degrees with a tilted gantry, which
    is tilted to that end, and 0 +- 9 without. Heads lean 0 +- 3 degrees; they are turned by 0 +- 5
    degrees, a quarter of them by up to 25 (measured on a GE head scan of 28 slices: 18). The lowest
    slice lies 95 to 52 mm below the origin (the foramen magnum lies about 60 below), the highest
    -8 to 8 mm above the crown.

    Args:
      rng: Random generator of the study.
      protocol: How the head is scanned.
      extent: Points of the head.
      matrix: Rows and columns of a slice.
    """
    tilt = math.radians(protocol.tilt_deg)
    nod = rng.normal(0.0, _NOD_DEG * (1.0 if protocol.tilt_deg else 1.5))
    turn = rng.uniform(-25.0, 25.0) if rng.uniform() < 0.25 else rng.normal(0.0, 5.0)
    lean = rng.normal(0.0, _LEAN_DEG)
    rotation = _rotation(tilt, 0.0, 0.0) @ _rotation(*np.radians([nod, lean, turn]))
    # The table's height and the origin of patient coordinates are arbitrary.
    center = np.array([rng.normal(0.0, 4.0), rng.normal(-20.0, 25.0), rng.uniform(-200.0, 900.0)])
    pose = Pose(rotation, center)

    row, column = np.array([1.0, 0.0, 0.0]), np.array([0.0, math.cos(tilt), math.sin(tilt)])
    normal = np.cross(row, column)
    placed = extent.tissue @ rotation.T
    along, thickness = _stack(rng, protocol, float((placed @ normal).max()))
    # The field of view is centred on most of the head, by eye.
    middle = placed[np.abs(placed @ normal) < 60.0]
    aim = [0.5 * float((middle @ axis).min() + (middle @ axis).max()) for axis in (row, column)]
    aim += rng.normal(0.0, 3.5, 2)
    spacing = round(protocol.view_mm / matrix, 6)
    corner = -0.5 * spacing * (matrix - 1)
    # The table moves along z, also while the gantry is tilted: slices slide along their columns.
    # Half of the scanners centre them anew.
    slides = tilt != 0.0 and bool(rng.uniform() < 0.5)
    drift = along * (-math.tan(tilt) if slides else 0.0)
    drift -= drift[len(drift) // 2]
    positions = (
        center
        + along[:, None] * normal
        + (corner + aim[0]) * row
        + (corner + aim[1] - drift[:, None]) * column
    )
    orientation = tuple(round(float(value), 6) for value in (*row, *column))
    geometry = Geometry(
        spacing_mm=spacing,
        orientation=orientation,  # type: ignore[arg-type]
        positions_mm=np.round(positions, 6),
        tilt_deg=protocol.tilt_deg,
        acquisition=Acquisition(thickness, protocol.kernel.name, protocol.kvp, protocol.tube_ma),
    )
    return pose, geometry


def _stack(
    rng: np.random.Generator, protocol: Protocol, crown: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each slice from the head's origin along the normal, and thickness, mm."""
    low, high = rng.uniform(-95.0, -52.0), crown + rng.uniform(-8.0, 8.0)
    border = rng.uniform(-15.0, 12.0)
    base = np.arange(low, border, protocol.base_mm)
    # Where the thickness changes, the parts overlap or leave a gap (measured on a GE head scan of
    # 28 slices: 1.1 mm from the last slice of 4 mm to the first of 7).
    first = base[-1] + 0.5 * (protocol.base_mm + protocol.crown_mm)
    if protocol.base_mm != protocol.crown_mm:
        first -= rng.uniform(-0.5, 1.0) * protocol.base_mm
    top = np.arange(first, max(high, first + 1.0), protocol.crown_mm)
    thickness = np.repeat([protocol.base_mm, protocol.crown_mm], [len(base), len(top)])
    return np.concatenate([base, top]), thickness


def _rotation(nod: float, lean: float, turn: float) -> np.ndarray:
    """Rotation matrix of angles about x, y and z, radians."""
    c, s = np.cos([nod, lean, turn]), np.sin([nod, lean, turn])
    about_x = np.array([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]])
    about_y = np.array([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]])
    about_z = np.array([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)
