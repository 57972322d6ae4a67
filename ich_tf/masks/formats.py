"""Formats of masks, and which one a file has."""

from __future__ import annotations

from pathlib import Path

from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.masks.errors import MaskError, MaskReason

_NIFTI = (".nii", ".nii.gz")
_PAIRS = (".hdr", ".img", ".img.gz")
_OTHERS = (
    ".nrrd", ".nhdr", ".mha", ".mhd", ".mgh", ".mgz", ".npy", ".npz", ".mat", ".h5", ".jpg",
    ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".zip", ".tar", ".gz",
)  # fmt: skip
_TABLES = (".csv", ".tsv", ".json", ".xml", ".txt")
_BY_CLASS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "dicom_seg",
    "1.2.840.10008.5.1.4.1.1.66.7": "dicom_seg",  # a label map
    "1.2.840.10008.5.1.4.1.1.481.3": "rtstruct",
}


def format_of(path: str | Path) -> str:
    """Format of a mask file, by its name and then by what it holds.

    Returns:
      One of `format_names.MASK_FORMATS` but `auto`.

    Raises:
      MaskError: MASK_FORMAT for anything else, MASK_UNREADABLE if the file cannot be read.
    """
    name = Path(path).name.lower()
    if name.endswith(_NIFTI):
        return "nifti"
    if name.endswith(".png"):
        return "png"
    if name.endswith(_TABLES):
        raise MaskError(
            MaskReason.MASK_FORMAT,
            "is a table or a text, as boxes come in; a box is no mask. Expected PNG, NIfTI, DICOM "
            "SEG or RTSTRUCT.",
        )
    if name.endswith(_PAIRS):
        raise MaskError(
            MaskReason.MASK_FORMAT,
            "is one half of a pair of a .hdr and an .img file; expected a single .nii or .nii.gz.",
        )
    if name.endswith(_OTHERS):
        raise MaskError(
            MaskReason.MASK_FORMAT,
            "is of a format that is not read; expected PNG, NIfTI, DICOM SEG or RTSTRUCT.",
        )
    return _dicom_format(path)


def _dicom_format(path: str | Path) -> str:
    from ich_tf.dicom.content import Content
    from ich_tf.dicom.elements import text
    from ich_tf.dicom.parser import parse
    from ich_tf.masks.dicom_file import unread

    try:
        with Path(path).open("rb") as file:
            kind = text(parse(Content(file)), "SOPClassUID")
    except DicomError as error:
        if error.reason is not Reason.NOT_DICOM:
            raise unread(error) from error
        raise MaskError(
            MaskReason.MASK_FORMAT,
            "is empty, or neither PNG nor NIfTI nor DICOM; expected one of these.",
        ) from error
    if kind not in _BY_CLASS:
        raise MaskError(
            MaskReason.MASK_FORMAT,
            "is a DICOM file, but no segmentation and no structure set; expected DICOM SEG or "
            "RTSTRUCT.",
        )
    return _BY_CLASS[kind]
