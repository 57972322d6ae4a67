"""Stacks of slices with a bleed of known form, and files that hold its mask."""

from pathlib import Path

import numpy as np

from ich_tf.labels import ANY
from ich_tf.masks.planes import Plane

SUBDURAL = 4
# Semi-axes of the bleed, mm, and its centre: 33.5 ml.
AXES_MM = np.array([25.0, 20.0, 16.0])
CENTRE_MM = np.array([12.0, -8.0, 70.0])
VOLUME_ML = 4 / 3 * np.pi * AXES_MM.prod() / 1000


def stack(
    places_mm: np.ndarray | list[float], *, size: int = 64, tilt_deg: float = 0.0
) -> list[Plane]:
    """Axial planes of 200 mm around the z axis, at places along their normal."""
    tilt = np.radians(tilt_deg)
    row, column = np.array([1.0, 0, 0]), np.array([0.0, np.cos(tilt), np.sin(tilt)])
    normal = np.cross(row, column)
    spacing = 200.0 / size
    corner = -0.5 * spacing * (size - 1) * (row + column)
    middle = np.array([0.0, 0.0, 70.0])
    return [
        Plane(
            tuple((middle + corner + (place - 70.0) * normal).tolist()),
            (*row.tolist(), *column.tolist()),
            (spacing, spacing),
            size,
            size,
        )
        for place in places_mm
    ]


def inside(plane: Plane, centre_mm: np.ndarray = CENTRE_MM) -> np.ndarray:
    """Pixels whose centres lie in the bleed, bool [rows, columns]."""
    grid = np.mgrid[: plane.rows, : plane.columns].reshape(2, -1)
    away = (plane.points_mm(grid[0], grid[1]) - centre_mm) / AXES_MM
    return ((away**2).sum(axis=1) <= 1).reshape(plane.rows, plane.columns)


def masks(planes: list[Plane], class_: int = SUBDURAL) -> np.ndarray:
    """Bits of the bleed, uint8 [n, rows, columns]."""
    marked = np.stack([inside(plane) for plane in planes])
    return marked.astype(np.uint8) * np.uint8(1 << class_ | 1 << ANY)


def volume_ml(bits: np.ndarray, planes: list[Plane], gap_mm: float) -> float:
    height, width = planes[0].spacing_mm
    return float(np.count_nonzero(bits) * height * width * gap_mm / 1000)


def affine_of(planes: list[Plane]) -> np.ndarray:
    """Affine of a NIfTI array [columns, rows, n] whose voxels lie on evenly spaced planes."""
    first, last = np.array(planes[0].position_mm), np.array(planes[-1].position_mm)
    row, column = np.reshape(planes[0].orientation, (2, 3))
    affine = np.eye(4)
    affine[:3, 0] = row * planes[0].spacing_mm[1]
    affine[:3, 1] = column * planes[0].spacing_mm[0]
    affine[:3, 2] = (last - first) / (len(planes) - 1)
    affine[:3, 3] = first
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    """Writes [n, rows, columns] as NIfTI, whose arrays are [columns, rows, n]."""
    import nibabel

    nibabel.Nifti1Image(values.transpose(2, 1, 0), affine).to_filename(path)
    return path
