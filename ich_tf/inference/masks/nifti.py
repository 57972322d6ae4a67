"""Masks of a series as NIfTI: one file a class, uint8 0 and 1, in the series' coordinates."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Any

import numpy as np

from ich_tf.dicom.header import Header
from ich_tf.errors import UsageError
from ich_tf.inference.masks.grids import make_grid
from ich_tf.labels import CLASSES
from ich_tf.masks.bits import unpack

# Of NIfTI: coordinates are those of the scanner.
_SCANNER = 1


def nifti_masks(bits: Sequence[np.ndarray], headers: Sequence[Header]) -> dict[str, bytes]:
    """Writes the masks of one pass of a series as `.nii.gz` files.

    Voxels lie on the grid of `grids.make_grid`: exactly on the slices where these are one grid, and
    where a gantry was tilted or distances are uneven, on one without shear, which all readers take.

    Args:
      bits: Mask of each slice, uint8 [rows, columns], bit k for class k of `labels.CLASSES`.
      headers: Header of each slice.

    Returns:
      Class -> file, for every class, empty masks too.

    Raises:
      UsageError: If nibabel is not installed.
      InputError: If the slices differ in size, pixel spacing or orientation.
    """
    nibabel = require_nibabel()
    grid = make_grid(headers)
    # NIfTI's first index is the column's, and x and y point the other way (RAS).
    affine = np.eye(4)
    affine[:3, :3] = grid.axes_mm[[1, 0, 2]].T
    affine[:3, 3] = grid.origin_mm
    affine[:2] *= -1
    files = {}
    marked = [unpack(mask) for mask in bits]
    for k, name in enumerate(CLASSES):
        voxels = grid.filled([mask[k].astype(np.uint8) for mask in marked])
        image = nibabel.Nifti1Image(voxels.transpose(1, 0, 2), affine)
        image.header.set_xyzt_units("mm")
        image.header["descrip"] = f"{name}: ich_tf, research only".encode()
        image.set_sform(affine, code=_SCANNER)
        image.set_qform(affine, code=_SCANNER)
        # No time of writing within: the same masks are the same bytes.
        files[name] = gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)
    return files


def require_nibabel() -> Any:
    """Returns nibabel.

    Raises:
      UsageError: If it is not installed.
    """
    try:
        import nibabel
    except ImportError as error:
        raise UsageError(
            "NIfTI files are written by nibabel, which is not installed: pip install "
            "'ich-tf[masks]'."
        ) from error
    return nibabel
