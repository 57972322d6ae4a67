"""NIfTI -> masks or an image on planes in patient coordinates.

Read as images are (`dicom.nifti`), so that a mask and its image of the same affine lie on the same
planes.
"""

from __future__ import annotations

from pathlib import Path

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

# Largest value of a mask that is told from others.
_MAX_VALUE = 1 << 20
_REASONS = {
    Reason.BAD_GEOMETRY: MaskReason.MASK_GEOMETRY,
    Reason.NOT_AXIAL: MaskReason.MASK_GEOMETRY,
    Reason.MULTI_FRAME: MaskReason.MASK_FORMAT,
    Reason.PHOTOMETRIC: MaskReason.MASK_FORMAT,
    Reason.TOO_LARGE: MaskReason.MASK_FORMAT,
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
    planes, values = _read(path)
    if values.dtype.kind == "f":
        # Many tools store the whole numbers of a mask as floats; probabilities are no mask.
        whole = np.rint(values)
        if not np.array_equal(whole, values) or np.isinf(values).any():
            raise MaskError(
                MaskReason.MASK_FORMAT,
                "holds fractions or values that are no numbers, like an image or a map of "
                "probabilities; expected the whole number of a class in each voxel.",
            )
        values = whole.clip(-1, _MAX_VALUE).astype(np.int32)
    bits, annotated = classes.bits_of_values(values)
    return MaskVolume(planes, bits, annotated)


def read_nifti_image(path: str | Path) -> ImageVolume:
    """Reads an image from a NIfTI file.

    Raises:
      MaskError: MASK_FORMAT, MASK_GEOMETRY or MASK_UNREADABLE.
      UsageError: If nibabel is not installed.
    """
    planes, values = _read(path)
    return ImageVolume(planes, values.astype(np.float32))


def _read(path: str | Path) -> tuple[tuple[Plane, ...], np.ndarray]:
    """Planes in their order, and values [n, rows, columns]."""
    if not Path(path).stat().st_size:
        raise MaskError(MaskReason.MASK_FORMAT, "is an empty file; expected a mask.")
    try:
        with Path(path).open("rb") as file:
            header = read_nifti_header(read_start(file, HEADER_BYTES))
            layout = axial_layout(header)
            slice_bytes = header.num_bytes // header.shape[layout.slices]
            data = read_voxels(file, header.offset, header.num_bytes, slice_bytes).data
    except DicomError as error:
        if error.reason is Reason.NO_DECODER:
            raise UsageError(str(error)) from error
        reason = _REASONS.get(error.reason, MaskReason.MASK_UNREADABLE)
        raise MaskError(reason, str(error)) from error
    voxels: np.ndarray = np.ndarray(header.shape, header.dtype, data, order="F")
    return _planes(header, layout), _values(header, layout, voxels)


def _planes(header: NiftiHeader, layout: AxialLayout) -> tuple[Plane, ...]:
    rows, columns = header.shape[layout.rows], header.shape[layout.columns]
    return tuple(
        Plane(layout.position(number), layout.orientation, layout.spacing_mm, rows, columns)
        for number in _order(header, layout)
    )


def _values(header: NiftiHeader, layout: AxialLayout, voxels: np.ndarray) -> np.ndarray:
    images = [layout.image(voxels, number) for number in _order(header, layout)]
    values: np.ndarray = np.stack(images).astype(header.dtype.newbyteorder("="), copy=False)
    if header.slope == 1.0 and header.intercept == 0.0:
        return values
    return np.asarray(values * header.slope + header.intercept)


def _order(header: NiftiHeader, layout: AxialLayout) -> range:
    """Numbers of the slices in their order along the normal, which points to the head."""
    count = header.shape[layout.slices]
    return range(count) if layout.step_mm[2] > 0 else range(count - 1, -1, -1)
