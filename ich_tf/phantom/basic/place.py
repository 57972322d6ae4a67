"""Points of a scan, and their position relative to a head's anatomy.

Arrays are float32 and of one shape, [sub-slices, rows, columns]; positions are in the head frame
of `head`, mm.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from ich_tf.phantom.basic.head import MAP_PIXELS, Head
from ich_tf.phantom.shapes import Region, ellipsoid, ellipsoid_radius, find_region

# Half axes of the cranial cavity: to the sides, to front and back, up from the origin, and down.
CAVITY_X_MM, CAVITY_Y_MM, CAVITY_UP_MM, CAVITY_DOWN_MM = 67.0, 84.0, 72.0, 42.0


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """Points, and their position relative to a head's anatomy.

    Attributes:
      x: Position to the patient's left, mm.
      y: Position to the back, mm.
      z: Position to the crown, mm.
      inner_x: x of the point before a bleed pushed the brain aside, mm.
      depth: Distance from the inner table of the skull, mm, positive inside.
      direction: Unit vector from the origin in the standard head's proportions, three arrays.
      surface_mm: Distance to the nearest sulcus along the brain's surface.
      relief: Slow noise along the surface, standard deviation 1.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    inner_x: np.ndarray
    depth: np.ndarray
    direction: tuple[np.ndarray, np.ndarray, np.ndarray]
    surface_mm: np.ndarray
    relief: np.ndarray

    def region(
        self, low: tuple[float, float, float], high: tuple[float, float, float]
    ) -> Region | None:
        """The part of the arrays that contains a box.

        Most structures are small: computing them only near the box takes a third of the time.

        Args:
          low: Lowest (x, y, z) of the box, mm.
          high: Highest (x, y, z) of the box, mm.

        Returns:
          An index of the arrays; None if no point lies in the box.
        """
        return find_region((self.x, self.y, self.z), low, high)

    def crop(self, region: Region) -> Place:
        """The points of a region; the arrays are views."""
        ux, uy, uz = self.direction
        return Place(
            x=self.x[region],
            y=self.y[region],
            z=self.z[region],
            inner_x=self.inner_x[region],
            depth=self.depth[region],
            direction=(ux[region], uy[region], uz[region]),
            surface_mm=self.surface_mm[region],
            relief=self.relief[region],
        )


def locate(head: Head, x: np.ndarray, y: np.ndarray, z: np.ndarray, shift_mm: float = 0.0) -> Place:
    """Computes the position of points relative to a head's anatomy.

    Args:
      head: The head.
      x: Position to the patient's left, head frame, mm, float32.
      y: Position to the back, of the same shape.
      z: Position to the crown, of the same shape.
      shift_mm: Shift of the midline to the patient's right by a bleed on the left; negative for
        the opposite.
    """
    wide = x / head_width(y)
    lift = np.where(z > 0, np.float32(1 / CAVITY_UP_MM), np.float32(1 / CAVITY_DOWN_MM))
    depth, radius = ellipsoid_radius(wide, y, z, 1 / CAVITY_X_MM, 1 / CAVITY_Y_MM, lift)
    side = np.abs(wide)
    np.maximum(depth, ellipsoid(side - 35, y + 16, z + 25, 29, 36, 22), out=depth)
    np.maximum(depth, ellipsoid(x, y - 39, z + 31, 55, 41, 40), out=depth)
    ux, uy, uz = (
        wide * np.float32(1 / CAVITY_X_MM),
        y * np.float32(1 / CAVITY_Y_MM),
        z * np.float32(1 / CAVITY_UP_MM),
    )
    inverse = 1.0 / np.maximum(np.sqrt(ux * ux + uy * uy + uz * uz), 1e-3)
    ux, uy, uz = ux * inverse, uy * inverse, uz * inverse
    # Sulci wander as they go deeper.
    wander = 0.16 * (1.0 - np.clip(radius, 0.0, 1.0))
    k = np.sqrt(2.0 / np.maximum(1.0 + uz, 1e-3)) * np.float32(MAP_PIXELS / 4)
    column = (k * (ux + wander * uy) + MAP_PIXELS / 2).astype(np.float32)
    row = (k * (uy - wander * ux) + MAP_PIXELS / 2).astype(np.float32)
    inner_x = x
    if shift_mm:
        inner_x = x + np.float32(shift_mm) * np.clip(1.0 - radius * radius, 0.0, 1.0)
    # The map is torn apart at the nadir: neither sulci nor relief there.
    below = np.clip((-0.3 - uz) * np.float32(1 / 0.45), 0.0, 1.0)
    surface_mm = _look_up(head.sulci, column, row) + 4.0 * below
    relief = _look_up(head.relief, column, row) * (1.0 - below)
    return Place(x, y, z, inner_x, depth, (ux, uy, uz), surface_mm, relief)


def head_width(y: np.ndarray) -> np.ndarray:
    """Width of the head relative to its middle; widest behind the middle."""
    back = y * np.float32(1 / CAVITY_Y_MM)
    return 1.0 + 0.10 * back - 0.06 * back * back


def _look_up(surface_map: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    flat = (-1, column.shape[-1])
    values = cv2.remap(
        surface_map, column.reshape(flat), row.reshape(flat), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    return np.asarray(values).reshape(column.shape)
