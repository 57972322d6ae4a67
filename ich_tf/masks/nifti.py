"""NIfTI -> masks or an image on planes in patient coordinates.

Read as images are (`dicom.nifti_file`), so that a mask and its image of the same affine lie on the
same planes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.dicom.nifti_content import read_start, read_voxels
from ich_tf.dicom.nifti_geometry import AxialLayout, axial_layout
from ich_tf.dicom.nifti_header import HEADER_BYTES, NiftiHeader, read_nifti_header
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.errors import UsageError
from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.planes import Plane
from ich_tf.masks.volume import ImageVolume, MaskVolume

# Whole numbers that were scaled or resampled are whole up to the rounding of float32.
_ROUNDING = 1e-4
# float64 tells whole numbers apart up to here.
_MAX_WHOLE = 2.0**53
_REASONS = {
    Reason.BAD_GEOMETRY: MaskReason.MASK_GEOMETRY,
    Reason.NOT_AXIAL: MaskReason.MASK_GEOMETRY,
    Reason.MULTI_FRAME: MaskReason.MASK_FORMAT,
    Reason.PHOTOMETRIC: MaskReason.MASK_FORMAT,
    Reason.TOO_LARGE: MaskReason.MASK_FORMAT,
    Reason.BAD_RESCALE: MaskReason.MASK_FORMAT,
    Reason.NOT_HOUNSFIELD: MaskReason.MASK_FORMAT,
}


def read_nifti(path: str | Path, classes: ClassMap) -> MaskVolume:
    """Reads a mask from a NIfTI file.

    Args:
      path: File, `.nii` or `.nii.gz`.
      classes: Class of each value.

    Raises:
      MaskError: MASK_FORMAT, MASK_GEOMETRY, MASK_CLASS or MASK_UNREADABLE.
      UsageError: If nibabel is not installed.
    """
    planes, slices = _read(path, _whole_numbers)
    bits, annotated = classes.bits_of_values(slices)
    return MaskVolume(planes, bits, annotated)


def read_nifti_image(path: str | Path) -> ImageVolume:
    """Reads an image from a NIfTI file.

    Raises:
      MaskError: MASK_FORMAT, MASK_GEOMETRY or MASK_UNREADABLE.
      UsageError: If nibabel is not installed.
    """
    planes, slices = _read(path, lambda values: values.astype(np.float32))
    return ImageVolume(planes, slices)


def read_nifti_planes(path: str | Path) -> tuple[Plane, ...]:
    """Planes of a NIfTI file in their order, from its header alone.

    Raises:
      MaskError: MASK_FORMAT, MASK_GEOMETRY or MASK_UNREADABLE.
      UsageError: If nibabel is not installed.
    """
    with _reasons_of_masks(), Path(path).open("rb") as file:
        header = read_nifti_header(read_start(file, HEADER_BYTES))
        return _planes(header, axial_layout(header))


class _Slices(Sequence[np.ndarray]):
    """Values of the slices, [rows, columns], scaled and converted when they are asked for.

    All at once, the values of a volume of bytes would take eight times its memory.
    """

    def __init__(
        self,
        header: NiftiHeader,
        layout: AxialLayout,
        voxels: np.ndarray,
        convert: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        self._header, self._layout, self._voxels = header, layout, voxels
        self._order = _order(header, layout)
        self._convert = convert

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: Any) -> Any:
        values = self._layout.image(self._voxels, self._order[index])
        values = values.astype(self._header.dtype.newbyteorder("="), copy=False)
        slope, intercept = self._header.slope, self._header.intercept
        if (slope, intercept) != (1.0, 0.0):
            values = values * slope + intercept
        return self._convert(values)


def _read(
    path: str | Path, convert: Callable[[np.ndarray], np.ndarray]
) -> tuple[tuple[Plane, ...], _Slices]:
    """Planes in their order, and the values of each."""
    if not Path(path).stat().st_size:
        raise MaskError(MaskReason.MASK_FORMAT, "is an empty file; expected a mask.")
    with _reasons_of_masks(), Path(path).open("rb") as file:
        header = read_nifti_header(read_start(file, HEADER_BYTES))
        layout = axial_layout(header)
        slice_bytes = header.num_bytes // header.shape[layout.slices]
        data = read_voxels(file, header.offset, header.num_bytes, slice_bytes).data
    voxels: np.ndarray = np.ndarray(header.shape, header.dtype, data, order="F")
    return _planes(header, layout), _Slices(header, layout, voxels, convert)


def _whole_numbers(values: np.ndarray) -> np.ndarray:
    """Values of a mask as integers: many tools store them as floats.

    Raises:
      MaskError: MASK_FORMAT for fractions: probabilities are no mask.
    """
    if values.dtype.kind != "f":
        return values
    whole = np.rint(values)
    with np.errstate(invalid="ignore"):
        off = np.abs(values - whole).max()
    # A comparison that a nan fails, too, and infinity minus infinity.
    if not off <= _ROUNDING:
        raise MaskError(
            MaskReason.MASK_FORMAT,
            "holds fractions or values that are no numbers, like an image or a map of "
            "probabilities; expected the whole number of a class in each voxel.",
        )
    return np.asarray(whole.clip(-_MAX_WHOLE, _MAX_WHOLE).astype(np.int64))


@contextmanager
def _reasons_of_masks() -> Iterator[None]:
    """Turns the reasons of images into those of masks.

    Raises:
      MaskError: MASK_FORMAT, MASK_GEOMETRY or MASK_UNREADABLE.
      UsageError: If nibabel is not installed.
    """
    try:
        yield
    except DicomError as error:
        if error.reason is Reason.NO_DECODER:
            raise UsageError(str(error)) from error
        message = str(error)
        # Hounsfield units would mislead whoever looks at a mask.
        if error.reason is Reason.BAD_RESCALE:
            message = "its scl_slope and scl_inter are no scale of whole numbers; expected 1 and 0."
        elif error.reason is Reason.NOT_HOUNSFIELD:
            message = "its voxels are complex numbers; expected the number of a class in each."
        reason = _REASONS.get(error.reason, MaskReason.MASK_UNREADABLE)
        raise MaskError(reason, message) from error


def _planes(header: NiftiHeader, layout: AxialLayout) -> tuple[Plane, ...]:
    rows, columns = header.shape[layout.rows], header.shape[layout.columns]
    return tuple(
        Plane(layout.position(number), layout.orientation, layout.spacing_mm, rows, columns)
        for number in _order(header, layout)
    )


def _order(header: NiftiHeader, layout: AxialLayout) -> range:
    """Numbers of the slices in their order along the normal, which points to the head."""
    count = header.shape[layout.slices]
    return range(count) if layout.step_mm[2] > 0 else range(count - 1, -1, -1)
