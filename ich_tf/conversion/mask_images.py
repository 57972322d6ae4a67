"""The image that a mask was drawn on, compared with the slices that the mask is placed on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ich_tf.conversion.series_planes import SeriesPlanes
from ich_tf.dicom.nifti_names import is_nifti, without_nifti_extension
from ich_tf.dicom.reasons import DicomError
from ich_tf.dicom.source_reader import SourceReader
from ich_tf.errors import InputError
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.nifti import read_nifti_image, read_nifti_planes
from ich_tf.masks.orientation import check_orientation
from ich_tf.masks.placement import place_image
from ich_tf.masks.planes import Plane

# Affines are stored as float32, and as quaternions.
_SAME_VOXEL_MM = 0.1
_ENDINGS = (".nii.gz", ".nii")


def check_images_folder(folder: Path) -> None:
    """Checks that there is a folder of images.

    Raises:
      InputError: If there is none.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder. Expected one of the NIfTI images that the masks were drawn "
            "on, for --mask_images_dir."
        )


def no_image_of_png() -> MaskError:
    """Error of a PNG that is to be compared with an image."""
    return MaskError(
        MaskReason.MASK_FORMAT,
        "is a PNG, which says no place, so that no image of --mask_images_dir can be compared; "
        "convert PNGs without that flag.",
    )


def check_image(folder: Path, mask: Path, name: str, series: SeriesPlanes) -> None:
    """Checks that the image of a mask lies on a series as its geometry says.

    Args:
      folder: Folder of the images.
      mask: The mask; that of a NIfTI file must have the geometry of its image.
      name: Path of the mask within the folder of masks, or of its image within this one.
      series: Series that the mask is placed on.

    Raises:
      MaskError: MASK_MISALIGNED if it fits better mirrored, turned or shifted, or has another
        geometry than its mask; MASK_UNREADABLE if image or slices cannot be read.
    """
    image = read_nifti_image(_find(folder, name))
    if is_nifti(name):
        _check_same_planes(read_nifti_planes(mask), image.planes)
    slices = []
    try:
        with SourceReader() as reader:
            for (_, frame), source in zip(series.places, series.sources, strict=True):
                slices.append(reader.slice(source, frame).hu)
    except DicomError as error:
        raise MaskError(
            MaskReason.MASK_UNREADABLE,
            f"cannot be compared with its image: {source.shown} cannot be read "
            f"({error.reason.value}).",
        ) from error
    if len({slice_.shape for slice_ in slices}) > 1:
        raise MaskError(
            MaskReason.MASK_SIZE,
            "cannot be compared with its image: the slices have several sizes; expected one.",
        )
    check_orientation(place_image(image, series.planes), np.stack(slices))


def _check_same_planes(mask: Sequence[Plane], image: Sequence[Plane]) -> None:
    """Checks that mask and image have the same voxels in the same places."""
    same = len(mask) == len(image)
    away = 0.0
    for one, other in zip(mask, image, strict=False):
        same &= (one.rows, one.columns) == (other.rows, other.columns)
        away = max(away, float(np.abs(one.corners_mm - other.corners_mm).max()))
    if not same or away > _SAME_VOXEL_MM:
        raise MaskError(
            MaskReason.MASK_MISALIGNED,
            f"has another geometry than its image: {len(mask)} planes and {len(image)}, up to "
            f"{away:.1f} mm apart; expected one affine of both.",
        )


def _find(folder: Path, name: str) -> Path:
    """Path of a mask's image: of the mask's own name, or that with the ending of NIfTI."""
    stem = without_nifti_extension(name)
    for path in (folder / name, *(folder / f"{stem}{ending}" for ending in _ENDINGS)):
        if path.is_file() and is_nifti(path.name):
            return path
    raise MaskError(
        MaskReason.MASK_UNREADABLE,
        f"has no image in --mask_images_dir; expected {stem}.nii.gz or {stem}.nii there.",
    )
