"""A mask file of any format that has a geometry -> masks on planes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.dicom_seg import read_dicom_seg
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.formats import format_of
from ich_tf.masks.guard import guarded
from ich_tf.masks.nifti import read_nifti
from ich_tf.masks.planes import Plane
from ich_tf.masks.rtstruct import read_rtstruct
from ich_tf.masks.volume import MaskVolume


def read_mask(
    path: str | Path, format_: str, classes: ClassMap, planes: Sequence[Plane]
) -> MaskVolume:
    """Reads a mask file.

    Args:
      path: The file.
      format_: One of `format_names.MASK_FORMATS`; `auto` to find out.
      classes: Class of each value, segment or region.
      planes: Planes of the slices of its series, one or more: contours are drawn onto them.

    Raises:
      MaskError: If it cannot be used.
      UsageError: If a package is not installed.
    """
    with guarded():
        if format_ == "auto":
            format_ = format_of(path)
        if format_ == "nifti":
            return read_nifti(path, classes)
        if format_ == "dicom_seg":
            return read_dicom_seg(path, classes)
        if format_ == "rtstruct":
            return read_rtstruct(path, classes, planes)
        raise MaskError(
            MaskReason.MASK_FORMAT,
            "is a PNG, which says no place in patient coordinates; expected a file named after an "
            "image id.",
        )
