"""The head frame of a scan: where its origin lies, and the plane between the hemispheres."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from scipy.optimize import minimize

from ich_tf.acceptance.scan import Scan

# Height of the cavity above the foramina of Monro, as share of half its width: 60 of 66 mm,
# measured on a GE head scan of 28 slices.
_UP_PER_HALF_WIDTH = 60.0 / 66.0
# Grid of the search for the plane of symmetry.
_GRID_MM = 2.0
_SIDE = 128
# Slices with so much of the largest area show the plane.
_LEAST_AREA = 0.4


@dataclasses.dataclass(frozen=True, eq=False)
class HeadFrame:
    """Axes of a head in a scan: x to the patient's left, y to the back, z along the normal.

    Slices are taken to lie parallel to the base of the skull, as technologists tilt gantry or head.

    Attributes:
      axes: Unit vectors x, y and z in patient coordinates, float64 [3, 3], a row each.
      origin_mm: Origin in patient coordinates, float64 [3]: on the midline, half way from front to
        back of the widest slices, at the height of the foramina of Monro of an average head.
      lean: Shift of the midline to the left with height, mm a mm: a head that leans to a shoulder.
    """

    axes: np.ndarray
    origin_mm: np.ndarray
    lean: float

    def points(
        self, scan: Scan, index: int, box: tuple[slice, slice], offsets_mm: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions of a slice's pixels in the head frame.

        Args:
          scan: The scan.
          index: Number of the slice.
          box: Rows and columns.
          offsets_mm: Distances from the slice along the series' normal, [n].

        Returns:
          x, y and z, mm, float32 [n, rows, columns] each.
        """
        header = scan.headers[index]
        along_row, along_column = self.in_plane(scan)
        first = self.axes @ (np.array(header.position_mm) - self.origin_mm)
        normal = self.axes @ scan.normal
        rows = np.arange(box[0].start, box[0].stop)[None, :, None]
        columns = np.arange(box[1].start, box[1].stop)[None, None, :]
        depths = np.asarray(offsets_mm, np.float64)[:, None, None]
        x, y, z = (
            first[k] + normal[k] * depths + along_column[k] * rows + along_row[k] * columns
            for k in range(3)
        )
        return x.astype(np.float32), y.astype(np.float32), z.astype(np.float32)

    def in_plane(self, scan: Scan) -> np.ndarray:
        """Steps from a column to the next and from a row to the next, mm, float64 [2, 3]."""
        row_mm, column_mm = scan.spacing_mm
        steps = np.reshape(scan.headers[0].orientation, (2, 3)) * [[column_mm], [row_mm]]
        return np.asarray(steps @ self.axes.T)


def find_head_frame(scan: Scan, cavity: np.ndarray) -> HeadFrame:
    """Finds the head frame by the symmetry of the cavity and of what it holds.

    Args:
      scan: The scan.
      cavity: The cranial cavity, bool [S, rows, columns]; not empty.
    """
    areas = cavity.sum(axis=(1, 2))
    used = np.flatnonzero(areas >= _LEAST_AREA * areas.max())
    plane = np.reshape(scan.headers[0].orientation, (2, 3))
    row_mm, column_mm = scan.spacing_mm
    # Positions in the plane of the slices, from the first slice's first pixel.
    corners = np.array([
        plane @ (np.array(header.position_mm) - scan.headers[0].position_mm)
        for header in scan.headers
    ])  # fmt: skip
    widest = int(areas.argmax())
    rows, columns = np.nonzero(cavity[widest])
    middle = corners[widest] + [columns.mean() * column_mm, rows.mean() * row_mm]
    maps = np.stack([
        _map(scan.hu[index], cavity[index], scan.spacing_mm, middle - corners[index])
        for index in used
    ])  # fmt: skip
    places = scan.places_mm[used] - scan.places_mm[widest]
    turn, shift, lean = _symmetry(maps, places)
    along_y = plane[0] * -np.sin(turn) + plane[1] * np.cos(turn)
    normal = scan.normal
    axes = np.stack([np.cross(along_y, normal), along_y, normal])
    # The middle between front and back on the midline of the widest slice.
    across = np.array([np.cos(turn), np.sin(turn)])
    offsets = corners[widest] + np.stack([columns * column_mm, rows * row_mm], axis=1) - middle
    along = offsets @ np.array([-np.sin(turn), np.cos(turn)])
    width = np.ptp(offsets @ across)
    point = (
        np.array(scan.headers[0].position_mm)
        + (middle + shift * across) @ plane
        + 0.5 * (along.min() + along.max()) * along_y
    )
    top = scan.places_mm[np.flatnonzero(areas)[-1]] - scan.places_mm[widest]
    height = top - _UP_PER_HALF_WIDTH * width / 2
    first = np.array(scan.headers[widest].position_mm) - scan.headers[0].position_mm
    origin = point + (first @ normal + height) * normal + lean * height * axes[0]
    return HeadFrame(axes, origin, float(lean))


def _map(
    image: np.ndarray,
    cavity: np.ndarray,
    spacing_mm: tuple[float, float],
    middle_mm: np.ndarray,
) -> np.ndarray:
    """Tissue in the cavity on the grid of the search, about a point; 0 outside of the cavity."""
    row_mm, column_mm = spacing_mm
    # Brain at 1, fluid at 0.4, bone and air at 0: outline and fluid spaces lead the search.
    values = np.where(cavity, 0.4 + 0.6 * np.clip(image / 35.0, 0.0, 1.2), 0.0).astype(np.float32)
    sigma = 0.7 * _GRID_MM
    blurred = cv2.GaussianBlur(values, (0, 0), sigma / column_mm, sigmaY=sigma / row_mm)
    half = (_SIDE - 1) / 2
    # From the grid's pixels to the image's.
    to_image = np.array([
        [_GRID_MM / column_mm, 0.0, middle_mm[0] / column_mm - half * _GRID_MM / column_mm],
        [0.0, _GRID_MM / row_mm, middle_mm[1] / row_mm - half * _GRID_MM / row_mm],
    ])  # fmt: skip
    return cv2.warpAffine(
        blurred, to_image, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )


def _symmetry(maps: np.ndarray, places_mm: np.ndarray) -> tuple[float, float, float]:
    """Turn (radians), shift (mm) and lean (mm a mm) of the plane of best symmetry."""
    half = (_SIDE - 1) / 2

    def asymmetry(parameters: np.ndarray) -> float:
        turn, shift, lean = parameters
        cos, sin = np.cos(2 * turn), np.sin(2 * turn)
        # Reflection at the line through the shifted middle along (-sin turn, cos turn).
        mirror = np.array([[-cos, -sin], [-sin, cos]])
        total = 0.0
        for image, place in zip(maps, places_mm, strict=True):
            across = np.array([np.cos(turn), np.sin(turn)]) * (shift + lean * place) / _GRID_MM
            offset = half * (1 - mirror.sum(axis=1)) + 2 * across
            mirrored = cv2.warpAffine(
                image, np.column_stack([mirror, offset]), (_SIDE, _SIDE), flags=cv2.INTER_LINEAR
            )
            total += float(np.abs(image - mirrored).mean())
        return total / len(maps)

    starts = [np.array([np.radians(turn), 0.0, 0.0]) for turn in range(-30, 31, 10)]
    best = min(starts, key=asymmetry)
    steps = np.array([np.radians(5.0), 3.0, 0.05])
    simplex = np.vstack([best, best + np.diag(steps)])
    result = minimize(
        asymmetry, best, method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-6, "maxiter": 200},
    )  # fmt: skip
    turn, shift, lean = result.x
    return float(turn), float(shift), float(lean)
