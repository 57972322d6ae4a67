"""NIfTI -> masks or an image on planes in patient coordinates."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.errors import UsageError
from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.planes import Plane
from ich_tf.masks.volume import ImageVolume, MaskVolume

# NIfTI's axes point right, anterior and superior; DICOM's left, posterior and superior.
_TO_LPS = np.array([-1.0, -1.0, 1.0])
# Cosine of the angle between axes that count as perpendicular. Affines are of float32, and written
# from headers with six digits.
_MAX_COSINE = 2e-3
_MIN_SPACING_MM, _MAX_SPACING_MM = 0.01, 100.0
_MAX_POSITION_MM = 1e5
# 1,024 planes of 512 x 512; a head in voxels of 0.5 mm has half as many.
_MAX_VOXELS = 1 << 28


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
        values = whole.clip(-1, 1 << 20).astype(np.int64)
    elif values.dtype.kind == "b":
        values = values.astype(np.uint8)
    elif values.dtype.kind not in "iu":
        raise MaskError(
            MaskReason.MASK_FORMAT, "holds colours or complex numbers; expected whole numbers."
        )
    bits, annotated = classes.bits_of_values(values)
    return MaskVolume(planes, bits, annotated)


def read_nifti_image(path: str | Path) -> ImageVolume:
    """Reads an image from a NIfTI file.

    Raises:
      MaskError: MASK_FORMAT, MASK_GEOMETRY or MASK_UNREADABLE.
      UsageError: If nibabel is not installed.
    """
    planes, values = _read(path)
    if values.dtype.kind not in "biuf":
        raise MaskError(MaskReason.MASK_FORMAT, "holds colours; expected an image of grey values.")
    return ImageVolume(planes, values.astype(np.float32))


def _read(path: str | Path) -> tuple[tuple[Plane, ...], np.ndarray]:
    """Planes in their order, and values [n, rows, columns]."""
    image = _load(path)
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or not all(shape) or np.prod(shape, dtype=float) > _MAX_VOXELS:
        raise MaskError(
            MaskReason.MASK_FORMAT,
            f"has the dimensions {list(image.shape)}; expected three, of at most {_MAX_VOXELS:,} "
            "voxels together.",
        )
    axes, spacing, origin = _geometry(image)
    values = np.asanyarray(image.dataobj).reshape(shape)
    # Slices lie along the axis that is nearest to the body's, wherever the file has it.
    along = int(np.argmax(np.abs(axes[:, 2])))
    across, down = (axis for axis in range(3) if axis != along)
    values = values.transpose(along, down, across)
    orientation = tuple(float(value) for value in (*axes[across], *axes[down]))
    places = [origin + k * spacing[along] * axes[along] for k in range(shape[along])]
    if float(np.cross(axes[across], axes[down]) @ axes[along]) < 0:
        places, values = places[::-1], values[::-1]
    planes = tuple(
        Plane(
            tuple(position.tolist()),
            orientation,  # type: ignore[arg-type]
            (float(spacing[down]), float(spacing[across])),
            shape[down],
            shape[across],
        )
        for position in places
    )
    return planes, np.ascontiguousarray(values)


def _load(path: str | Path) -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise UsageError(
            "Masks as NIfTI are read by the package nibabel, which is not installed; "
            "pip install 'ich-tf[masks]'."
        ) from error
    # It logs what is odd in a header, and quotes it.
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    if not Path(path).stat().st_size:
        raise MaskError(MaskReason.MASK_FORMAT, "is an empty file; expected a mask.")
    try:
        image = nibabel.load(path)
    except nibabel.filebasedimages.ImageFileError as error:
        raise MaskError(
            MaskReason.MASK_UNREADABLE, "is no NIfTI file, or one whose header is damaged."
        ) from error
    if not isinstance(image, nibabel.Nifti1Pair):  # NIfTI-2 derives from it
        raise MaskError(MaskReason.MASK_FORMAT, "is of another format; expected NIfTI.")
    if not (image.header["qform_code"] or image.header["sform_code"]):
        raise MaskError(
            MaskReason.MASK_GEOMETRY,
            "does not say where its voxels lie: both qform_code and sform_code are 0; expected one "
            "of them.",
        )
    return image


def _geometry(image: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors of the three axes [3, 3], spacing along each, centre of the first voxel: LPS."""
    affine = np.asarray(image.affine, np.float64)
    if not np.isfinite(affine).all():
        raise MaskError(MaskReason.MASK_GEOMETRY, "has an affine with values that are no numbers.")
    steps = (affine[:3, :3] * _TO_LPS[:, None]).T
    spacing = np.linalg.norm(steps, axis=1)
    origin = affine[:3, 3] * _TO_LPS
    if not ((spacing >= _MIN_SPACING_MM) & (spacing <= _MAX_SPACING_MM)).all() or (
        np.abs(origin).max() > _MAX_POSITION_MM
    ):
        raise MaskError(
            MaskReason.MASK_GEOMETRY,
            f"has voxels of {' x '.join(f'{value:.4g}' for value in spacing)} mm at "
            f"{np.round(origin, 1).tolist()}; expected {_MIN_SPACING_MM:g} to "
            f"{_MAX_SPACING_MM:g} mm within 100 m.",
        )
    axes = steps / spacing[:, None]
    cosine = float(np.abs(axes @ axes.T - np.eye(3)).max())
    if cosine > _MAX_COSINE:
        raise MaskError(
            MaskReason.MASK_GEOMETRY,
            f"has a sheared affine: two axes at {np.degrees(np.arccos(min(cosine, 1.0))):.1f} "
            "degrees; expected right angles. Resample it, or give the mask as DICOM SEG.",
        )
    return axes, spacing, origin
