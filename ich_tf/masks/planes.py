"""Planes of pixels in patient coordinates: what slices and the planes of a mask have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ich_tf.dicom.header import Header  # pydicom takes 0.2 s to load

# Places nearer than this are one: headers are rounded.
SAME_PLACE_MM = 0.05


@dataclass(frozen=True)
class Plane:
    """Rows and columns of pixels, placed in patient coordinates (LPS, mm; PS3.3 C.7.6.2.1.1).

    Attributes:
      position_mm: Centre of the first pixel.
      orientation: Unit vectors along a row and along a column.
      spacing_mm: Distance between rows, and between columns.
      rows: Number of rows.
      columns: Number of columns.
    """

    position_mm: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    spacing_mm: tuple[float, float]
    rows: int
    columns: int

    @classmethod
    def of(cls, header: Header) -> Plane:
        """Plane of a CT slice."""
        return cls(
            header.position_mm, header.orientation, header.spacing_mm, header.rows, header.columns
        )

    @property
    def normal(self) -> np.ndarray:
        """Unit normal, row x column, float64 [3]."""
        row, column = np.reshape(self.orientation, (2, 3))
        normal = np.cross(row, column)
        return np.asarray(normal / np.linalg.norm(normal))

    def points_mm(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Patient coordinates of pixels, which may be fractions of them.

        Args:
          rows: Row of each, float [n].
          columns: Column of each, float [n].

        Returns:
          float64 [n, 3], mm.
        """
        along_row, along_column = np.reshape(self.orientation, (2, 3))
        return np.asarray(
            np.asarray(self.position_mm)
            + np.multiply.outer(np.asarray(columns) * self.spacing_mm[1], along_row)
            + np.multiply.outer(np.asarray(rows) * self.spacing_mm[0], along_column)
        )

    def pixels(self, points_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns, as fractions, of points projected onto the plane.

        Args:
          points_mm: Patient coordinates, float [n, 3].

        Examples:
          >>> plane = Plane((10.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0), (0.5, 2.0), 64, 64)
          >>> rows, columns = plane.pixels(np.array([[14.0, 3.0, 7.0]]))
          >>> float(rows[0]), float(columns[0])
          (6.0, 2.0)
        """
        offsets = np.asarray(points_mm) - self.position_mm
        along_row, along_column = np.reshape(self.orientation, (2, 3))
        return offsets @ along_column / self.spacing_mm[0], offsets @ along_row / self.spacing_mm[1]

    def distances_mm(self, points_mm: np.ndarray) -> np.ndarray:
        """Signed distances of points from the plane along its normal, float64 [n]."""
        return np.asarray((np.asarray(points_mm) - self.position_mm) @ self.normal)

    @property
    def corners_mm(self) -> np.ndarray:
        """Centres of the four corner pixels, float64 [4, 3]."""
        last_row, last_column = self.rows - 1, self.columns - 1
        return self.points_mm(
            np.array([0, 0, last_row, last_row]), np.array([0, last_column, 0, last_column])
        )

    @property
    def centre_mm(self) -> np.ndarray:
        """Centre of the plane, float64 [3]."""
        return np.asarray(self.corners_mm.mean(axis=0))


def places_mm(planes: Sequence[Plane], normal: np.ndarray) -> np.ndarray:
    """Places of planes along a normal, by their centres, float64 [n]."""
    return np.array([float(plane.centre_mm @ normal) for plane in planes])


def gaps_mm(places: np.ndarray) -> np.ndarray:
    """Distance of each place from its nearest neighbour in another place.

    Args:
      places: Places along a normal, mm, in any order; equal ones count as one.

    Returns:
      float64 [n], mm; infinite where there is no other place.

    Examples:
      >>> gaps_mm(np.array([0.0, 5.0, 15.0])).tolist()
      [5.0, 5.0, 10.0]
    """
    away = np.abs(places[:, None] - places)
    return np.asarray(np.where(away < SAME_PLACE_MM, np.inf, away).min(axis=1))
