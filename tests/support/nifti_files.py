"""NIfTI volumes of DICOM series, stored along any axes, for tests of reading. Needs nibabel."""

import gzip
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from ich_tf.dicom.reader import Slice

_LPS_OF_RAS = np.diag((-1.0, -1.0, 1.0, 1.0))


def make_nifti(
    voxels: np.ndarray,
    affine: np.ndarray,
    *,
    stored_as: tuple[Sequence[int], Sequence[bool]] = ((0, 1, 2), (False, False, False)),
    packed: bool = True,
    version: int = 1,
    change: Any = None,
) -> bytes:
    """The bytes of a NIfTI file.

    Args:
      voxels: Values [i, j, k, ...].
      affine: Voxel numbers to RAS, mm.
      stored_as: Axes of `voxels` in the order of the file, and whether each is reversed.
      packed: Whether to pack it by gzip.
      version: 1 or 2.
      change: Function that changes the header, called last.
    """
    import nibabel

    axes, reversed_ = stored_as
    rest = range(3, voxels.ndim)
    voxels = voxels.transpose(*axes, *rest)
    matrix = affine.copy()
    matrix[:3, :3] = affine[:3, list(axes)]
    for axis, flipped in enumerate(reversed_):
        if flipped:
            voxels = np.flip(voxels, axis)
            matrix[:3, 3] += (voxels.shape[axis] - 1) * matrix[:3, axis]
            matrix[:3, axis] *= -1
    image = {1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image}[version](voxels, None)
    image.set_sform(matrix, 1)
    image.header.set_xyzt_units("mm")
    data = image.to_bytes()
    if change is not None:
        size = {1: 348, 2: 540}[version]
        header = type(image.header)(data[:size])
        change(header)
        data = header.binaryblock + data[size:]
    return gzip.compress(data, 1, mtime=0) if packed else data


def volume_of(slices: Sequence[Slice]) -> tuple[np.ndarray, np.ndarray]:
    """Voxels int16 [columns, rows, slices] and the affine to RAS of a series in body order."""
    first, last = slices[0].header, slices[-1].header
    lps = np.eye(4)
    lps[:3, 0] = np.multiply(first.orientation[:3], first.spacing_mm[1])
    lps[:3, 1] = np.multiply(first.orientation[3:], first.spacing_mm[0])
    lps[:3, 2] = np.subtract(last.position_mm, first.position_mm) / (len(slices) - 1)
    lps[:3, 3] = first.position_mm
    voxels = np.stack([slice_.hu.T for slice_ in slices], axis=-1)
    return voxels.astype(np.int16), _LPS_OF_RAS @ lps


def reader_of(data: bytes, name: str = "case.nii.gz") -> Any:
    """A `NiftiFile` of bytes."""
    from ich_tf.dicom.nifti_file import NiftiFile

    return NiftiFile(io.BytesIO(data), name)
