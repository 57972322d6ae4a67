"""Where the slices of a series lie, and the head among them, in patient coordinates."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Acquisition:
    """What a header tells of how the slices of a series were made.

    Attributes:
      thickness_mm: Thickness of each slice, float64 [S].
      kernel: Name of the reconstruction kernel.
      kvp: Voltage of the tube, kV.
      tube_ma: Current of the tube, mA.
    """

    thickness_mm: np.ndarray
    kernel: str
    kvp: int
    tube_ma: int


@dataclasses.dataclass(frozen=True, eq=False)
class Geometry:
    """Position of the slices of a series, in patient coordinates.

    Attributes:
      spacing_mm: Distance between rows, and between columns.
      orientation: Unit vectors along a row and along a column (PS3.3 C.7.6.2.1.1).
      positions_mm: Centre of each slice's first pixel, float64 [S, 3], from the base up.
      tilt_deg: Angle between column and horizontal.
      acquisition: How the slices were made; None if a header has to guess it.
    """

    spacing_mm: float
    orientation: tuple[float, float, float, float, float, float]
    positions_mm: np.ndarray
    tilt_deg: float
    acquisition: Acquisition | None = None

    @property
    def normal(self) -> np.ndarray:
        """Unit normal of the slices, float64 [3], towards the crown."""
        row, column = np.reshape(self.orientation, (2, 3))
        return np.asarray(np.cross(row, column))


@dataclasses.dataclass(frozen=True, eq=False)
class Pose:
    """Position of a head in the scanner: patient = rotation @ (scale * head) + center_mm.

    Basic heads have a scale of their own; full ones are drawn in millimetres, with scale 1.

    Attributes:
      rotation: Rotation matrix, float64 [3, 3].
      center_mm: Origin of the head frame in patient coordinates, float64 [3].
    """

    rotation: np.ndarray
    center_mm: np.ndarray


def field_of_view(matrix: int) -> np.ndarray:
    """Mask of the circle that a scanner reconstructs, bool [matrix, matrix]."""
    axis = np.arange(matrix) - (matrix - 1) / 2
    return np.asarray(axis[:, None] ** 2 + axis**2 <= (matrix / 2) ** 2)
