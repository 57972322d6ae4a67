"""The header of a NIfTI file: size and type of its voxels, their scale, and where they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ich_tf.dicom.content import MAX_HEADER_BYTES
from ich_tf.dicom.quantity import check_line
from ich_tf.dicom.reasons import DicomError, Reason

# Bytes of the header of NIfTI-2, the longer one.
HEADER_BYTES = 540
# Length of a header, which is its first number -> where its mark lies, the marks of a whole file
# and of the half of a pair, and where voxels begin at the earliest.
_VERSIONS = {
    348: (344, b"n+1", b"ni1", 352),
    540: (4, b"n+2", b"ni2", 544),
}
# xyzt_units: code of the unit of length -> mm. Writers that leave it out mean mm.
_UNITS_MM = {1: 1000.0, 3: 0.001}
_LPS_OF_RAS = np.diag((-1.0, -1.0, 1.0, 1.0))


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """The header of a volume.

    Attributes:
      shape: Number of voxels along i, j and k, the first of which runs fastest in the file.
      dtype: Type of a voxel, with its byte order.
      offset: Number of bytes before the voxels.
      slope: Factor from stored values to Hounsfield units.
      intercept: Hounsfield units of a stored 0.
      affine: Voxel numbers to patient coordinates, LPS as in DICOM, mm; float64 [4, 4].
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    slope: float
    intercept: float
    affine: np.ndarray

    @property
    def num_bytes(self) -> int:
        """Number of bytes of all voxels."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_nifti_header(head: bytes) -> NiftiHeader:
    """Reads the header of a volume.

    Args:
      head: The first `HEADER_BYTES` bytes of the file, inflated.

    Raises:
      DicomError: NOT_DICOM if it is none, NO_DECODER without nibabel; BAD_HEADER, MULTI_FRAME,
        PHOTOMETRIC, NOT_HOUNSFIELD, BAD_RESCALE or BAD_GEOMETRY.
    """
    if not head:
        raise DicomError(Reason.NOT_DICOM, "is empty; expected a NIfTI volume.")
    size, is_half = _version(head)
    if not size:
        raise DicomError(
            Reason.NOT_DICOM,
            "is no NIfTI volume: it does not begin with a header of NIfTI-1 or NIfTI-2.",
        )
    if is_half:
        raise DicomError(
            Reason.BAD_HEADER,
            "is one half of a pair of a .hdr and an .img file; expected a single .nii or .nii.gz.",
        )
    if len(head) < size:
        raise DicomError(Reason.BAD_HEADER, "ends within its header: the file is cut.")
    nifti1, nifti2, header_error = _nibabel()
    header = (nifti1 if size == 348 else nifti2)(head[:size], check=False)
    try:
        dtype = header.get_data_dtype()
        shape = tuple(int(length) for length in header.get_data_shape())
    except (header_error, ValueError, KeyError) as error:
        raise DicomError(
            Reason.BAD_HEADER,
            f"its data type is number {int(header['datatype'])}, its dimensions are "
            f"{header['dim'].tolist()}; expected those of NIfTI.",
        ) from error
    _check_type(header, dtype)
    slope, intercept = _line(header, header_error)
    return NiftiHeader(
        _three(shape),
        dtype,
        _offset(header, _VERSIONS[size][3]),
        slope,
        intercept,
        _affine(header, header_error),
    )


def is_nifti_header(head: bytes) -> bool:
    """Whether a file that begins so is NIfTI, or the header of a pair of files.

    Args:
      head: The first `HEADER_BYTES` bytes of the file, inflated.
    """
    return _version(head)[0] > 0


def _version(head: bytes) -> tuple[int, bool]:
    """Length of a header, 0 if it is none; and whether it is that of a pair of files."""
    sizes = (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    size = next((size for size in sizes if size in _VERSIONS), 0)
    at, mark, half, _ = _VERSIONS.get(size, (0, b"", b"", 0))
    found = head[at : at + 3]
    return (size, found == half) if size and found in (mark, half) else (0, False)


def _nibabel() -> tuple[Any, Any, type[Exception]]:
    """Header classes of NIfTI-1 and NIfTI-2, and what they raise."""
    try:
        from nibabel.nifti1 import Nifti1Header
        from nibabel.nifti2 import Nifti2Header
        from nibabel.spatialimages import HeaderDataError
    except ImportError as error:
        # As for a codec: whoever installs it and runs the same command gets the file.
        raise DicomError(
            Reason.NO_DECODER,
            f"NIfTI needs nibabel ({error}); run pip install 'ich-tf[masks]'.",
        ) from error
    return Nifti1Header, Nifti2Header, HeaderDataError


def _check_type(header: Any, dtype: np.dtype) -> None:
    """Raises the reason why voxels of a type are no Hounsfield units."""
    if dtype.names:
        raise DicomError(Reason.PHOTOMETRIC, "its voxels are colours; expected one number a voxel.")
    if dtype.kind == "c":
        raise DicomError(
            Reason.NOT_HOUNSFIELD, "its voxels are complex numbers; expected Hounsfield units."
        )
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise DicomError(
            Reason.BAD_HEADER,
            f"its data type is number {int(header['datatype'])}; expected integers or floating-"
            "point numbers of at most 64 bits.",
        )


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) < 2 or min(shape) < 1:
        raise DicomError(
            Reason.BAD_HEADER, f"its dimensions are {list(shape)}; expected three, all above 0."
        )
    if any(length > 1 for length in shape[3:]):
        raise DicomError(
            Reason.MULTI_FRAME,
            f"its dimensions are {list(shape)}: several volumes, times or channels; expected one "
            "volume of three dimensions.",
        )
    lengths = (*shape, 1)
    return lengths[0], lengths[1], lengths[2]


def _offset(header: Any, least: int) -> int:
    """Number of bytes before the voxels; 0 in a file means the least."""
    offset = float(header["vox_offset"])
    if offset == 0:
        return least
    # A comparison that a nan fails, too.
    if not least <= offset <= MAX_HEADER_BYTES:
        raise DicomError(
            Reason.BAD_HEADER,
            f"its voxels begin at byte {offset:g}; expected {least} to {MAX_HEADER_BYTES}.",
        )
    return int(offset)


def _line(header: Any, header_error: type[Exception]) -> tuple[float, float]:
    """Slope and intercept; values are as they are stored where the slope is 0 or none."""
    try:
        slope, intercept = header.get_slope_inter()
    except header_error as error:
        raise DicomError(
            Reason.BAD_RESCALE, "its scl_inter is not finite; expected a number."
        ) from error
    if slope is None:
        return 1.0, 0.0
    check_line(slope, intercept)
    return slope, intercept


def _affine(header: Any, header_error: type[Exception]) -> np.ndarray:
    """Voxel numbers to LPS, mm: by sform, else by qform, as in other readers."""
    if not int(header["sform_code"]) and not int(header["qform_code"]):
        raise DicomError(
            Reason.BAD_GEOMETRY,
            "has neither an sform nor a qform, so that nothing tells left from right; expected "
            "a code above 0.",
        )
    try:
        with np.errstate(all="ignore"):
            affine = np.array(header.get_best_affine(), np.float64)
    except (header_error, ValueError) as error:
        raise DicomError(Reason.BAD_GEOMETRY, f"its qform cannot be read ({error}).") from error
    affine[:3] *= _UNITS_MM.get(int(header["xyzt_units"]) & 7, 1.0)
    return np.asarray(_LPS_OF_RAS @ affine)
