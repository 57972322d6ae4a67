"""Where the axial slices of a NIfTI volume lie, and how its voxels become their rows and columns.

A volume may be stored along any axes, in either direction. Its slices are laid out as those of a
patient who lies on the back: columns from right to left, rows from front to back. A slice that was
stored any other way would show a mirrored or rotated patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ich_tf.dicom.frames import MAX_FRAMES
from ich_tf.dicom.header import (
    MAX_AXES_DEVIATION,
    MAX_POSITION_MM,
    MAX_SIDE,
    MAX_SPACING_MM,
    MIN_AXIAL_COSINE,
    MIN_SPACING_MM,
)
from ich_tf.dicom.nifti_header import NiftiHeader
from ich_tf.dicom.reasons import DicomError, Reason

# Gantries tilt by 30 degrees at most: the step to the next slice is then as far from the normal.
_MIN_STEP_COSINE = 0.85
# Of the two spacings of a slice: those of scanners are equal, and an axial cut through a sagittal
# series has pixels of 0.5 x 5 mm.
_MAX_SPACING_RATIO = 2.0
# Of the two sides of a slice: an axial cut through a scout is a line of pixels.
_MAX_SIDE_RATIO = 4.0
# Affines are float32: what follows these digits, 0.1 um of a position, is noise.
_DIGITS, _POSITION_DIGITS = 6, 4


@dataclass(frozen=True, eq=False)
class AxialLayout:
    """How voxels become axial slices.

    Attributes:
      slices: Axis of the volume along which slices follow each other: 0, 1 or 2.
      rows: Axis of the volume that becomes the rows.
      columns: Axis of the volume that becomes the columns.
      flip_rows: Whether the first row is the last one of the volume.
      flip_columns: Whether the first column is the last one of the volume.
      orientation: Unit vectors along a row and along a column, as of `header.Header`.
      spacing_mm: Distance between rows, and between columns.
      position_mm: Centre of the first pixel of the volume's first slice, LPS, float64 [3].
      step_mm: From a slice to the next one in the file, LPS, float64 [3].
    """

    slices: int
    rows: int
    columns: int
    flip_rows: bool
    flip_columns: bool
    orientation: tuple[float, float, float, float, float, float]
    spacing_mm: tuple[float, float]
    position_mm: np.ndarray
    step_mm: np.ndarray

    def position(self, number: int) -> tuple[float, float, float]:
        """Centre of the first pixel of a slice, mm.

        Args:
          number: Number of the slice in the file, from 0.
        """
        x, y, z = _rounded(self.position_mm + number * self.step_mm, _POSITION_DIGITS)
        return x, y, z

    def image(self, voxels: np.ndarray, number: int) -> np.ndarray:
        """A view of the voxels of a slice, [rows, columns].

        Args:
          voxels: The volume, indexed by i, j and k.
          number: Number of the slice, from 0.
        """
        plane = np.moveaxis(voxels, (self.slices, self.rows, self.columns), (0, 1, 2))[number]
        plane = plane[::-1] if self.flip_rows else plane
        return np.asarray(plane[:, ::-1] if self.flip_columns else plane)


def axial_layout(header: NiftiHeader) -> AxialLayout:
    """Finds the axial slices of a volume.

    Args:
      header: Header of the volume.

    Raises:
      DicomError: BAD_GEOMETRY, NOT_AXIAL or TOO_LARGE.

    Examples:
      >>> ras = np.diag((-0.5, -0.5, 5.0, 1.0))  # seen from LPS
      >>> header = NiftiHeader((4, 4, 2), np.dtype("<i2"), 352, 1.0, 0.0, ras)
      >>> layout = axial_layout(header)
      >>> layout.orientation, layout.flip_rows, layout.position(1)
      ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), True, (-1.5, -1.5, 5.0))
    """
    axes, lengths = _axes(header.affine)
    slices = _slice_axis(axes)
    first, second = (axis for axis in range(3) if axis != slices)
    straight = abs(axes[first, 0]) + abs(axes[second, 1])
    crossed = abs(axes[second, 0]) + abs(axes[first, 1])
    columns, rows = (first, second) if straight >= crossed else (second, first)
    flip_columns, flip_rows = bool(axes[columns, 0] < 0), bool(axes[rows, 1] < 0)
    along_row = axes[columns] * (-1 if flip_columns else 1)
    along_column = axes[rows] * (-1 if flip_rows else 1)
    _check_size(header.shape, rows, columns, slices)
    _check_angles(along_row, along_column, axes[slices])
    spacing = lengths[rows], lengths[columns]
    sides = spacing[0] * header.shape[rows], spacing[1] * header.shape[columns]
    if max(spacing) > _MAX_SPACING_RATIO * min(spacing) or max(sides) > _MAX_SIDE_RATIO * min(
        sides
    ):
        raise DicomError(
            Reason.NOT_AXIAL,
            f"its axial slices would be {sides[0]:.3g} x {sides[1]:.3g} mm of pixels of "
            f"{spacing[0]:.3g} x {spacing[1]:.3g} mm: it is a scout, or a sagittal or coronal "
            "series. Expected an axial one.",
        )
    position = header.affine[:3, 3].copy()
    for axis, flipped in ((rows, flip_rows), (columns, flip_columns)):
        if flipped:
            position += (header.shape[axis] - 1) * header.affine[:3, axis]
    step = header.affine[:3, slices].copy()
    corners = np.abs([position, position + (header.shape[slices] - 1) * step])
    if not corners.max() <= MAX_POSITION_MM:
        raise DicomError(
            Reason.BAD_GEOMETRY,
            f"its slices lie up to {corners.max():g} mm from the origin; expected "
            f"{MAX_POSITION_MM:g} at most.",
        )
    row_spacing, column_spacing = _rounded(spacing, _DIGITS)
    return AxialLayout(
        slices=slices,
        rows=rows,
        columns=columns,
        flip_rows=flip_rows,
        flip_columns=flip_columns,
        orientation=_rounded((*along_row, *along_column), _DIGITS),  # type: ignore[arg-type]
        spacing_mm=(row_spacing, column_spacing),
        position_mm=position,
        step_mm=step,
    )


def _axes(affine: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Unit vectors along the axes of a volume, float64 [3 axes, 3], and the spacings, mm."""
    if not np.isfinite(affine).all():
        raise DicomError(
            Reason.BAD_GEOMETRY, "its affine has values that are no numbers; expected a matrix."
        )
    vectors = affine[:3, :3].T
    lengths = np.sqrt(np.square(vectors).sum(axis=1))
    if not ((lengths >= MIN_SPACING_MM) & (lengths <= MAX_SPACING_MM)).all():
        raise DicomError(
            Reason.BAD_GEOMETRY,
            f"its voxels are {lengths[0]:.3g} x {lengths[1]:.3g} x {lengths[2]:.3g} mm; expected "
            f"{MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} a side.",
        )
    return vectors / lengths[:, None], lengths.tolist()


def _slice_axis(axes: np.ndarray) -> int:
    """The axis whose planes are nearest to axial ones.

    Raises:
      DicomError: BAD_GEOMETRY, if axes lie in one plane; NOT_AXIAL.
    """
    normals = np.cross(axes[[1, 2, 0]], axes[[2, 0, 1]])
    lengths = np.sqrt(np.square(normals).sum(axis=1))
    if not lengths.min() > MAX_AXES_DEVIATION:
        raise DicomError(
            Reason.BAD_GEOMETRY, "two axes of its affine are parallel; expected a volume."
        )
    cosines = np.abs(normals[:, 2]) / lengths
    if cosines.max() < MIN_AXIAL_COSINE:
        raise DicomError(
            Reason.NOT_AXIAL,
            "none of its axes is near the body axis; expected axial slices, tilted by less than "
            "45 degrees.",
        )
    return int(cosines.argmax())


def _check_size(shape: tuple[int, int, int], rows: int, columns: int, slices: int) -> None:
    if max(shape[rows], shape[columns]) > MAX_SIDE or shape[slices] > MAX_FRAMES:
        raise DicomError(
            Reason.TOO_LARGE,
            f"{shape[slices]} slices of {shape[rows]} x {shape[columns]} pixels; expected at most "
            f"{MAX_FRAMES} of {MAX_SIDE} a side.",
        )


def _check_angles(along_row: np.ndarray, along_column: np.ndarray, step: np.ndarray) -> None:
    """Raises BAD_GEOMETRY for sheared axes, but for the shear of a tilted gantry.

    That one moves each slice along its columns, since the table moves along the body axis and the
    slices are not perpendicular to it.
    """
    normal = np.cross(along_row, along_column)
    cosine = abs(float(step @ normal))
    if (
        abs(float(along_row @ along_column)) > MAX_AXES_DEVIATION
        or abs(float(step @ along_row)) > MAX_AXES_DEVIATION
        or cosine < _MIN_STEP_COSINE
    ):
        raise DicomError(
            Reason.BAD_GEOMETRY,
            "its affine is sheared; expected perpendicular axes, or slices that follow each other "
            "as those of a tilted gantry.",
        )


def _rounded(values: object, digits: int) -> tuple[float, ...]:
    # Without negative zeros, which print differently.
    return tuple((np.round(np.asarray(values, np.float64), digits) + 0.0).tolist())
