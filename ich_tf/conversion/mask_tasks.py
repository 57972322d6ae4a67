"""Masks read by workers: what each tells of the slices that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ich_tf.conversion.mask_files import (
    MaskOptions,
    mask_rejection,
    mask_sha256,
    place_mask,
    read_png_mask,
)
from ich_tf.conversion.mask_images import check_image
from ich_tf.conversion.mask_labels import SliceMask
from ich_tf.conversion.series_planes import Place, SeriesPlanes
from ich_tf.dicom.reasons import Rejection
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.guard import guarded
from ich_tf.masks.references import MaskReferences, read_references

SliceMasks = dict[Place, SliceMask]


@dataclass(frozen=True, slots=True)
class PngTask:
    """A mask without a geometry, and its slice.

    Attributes:
      options: Options of the masks.
      name: Path of the mask within their folder.
      place: Name and frame of the slice.
      rows: Number of rows of the slice, px.
      columns: Number of columns of the slice, px.
    """

    options: MaskOptions
    name: str
    place: Place
    rows: int
    columns: int


@dataclass(frozen=True)
class FoundMask:
    """A mask with a geometry.

    Attributes:
      options: Options of the masks.
      name: Path of the mask within their folder.
      format: Its format.
      references: What it was drawn on; None for NIfTI, which does not say.
    """

    options: MaskOptions
    name: str
    format: str
    references: MaskReferences | None = None


@dataclass(frozen=True)
class VolumeTask:
    """A mask with a geometry, and the series that it may belong to, one or more.

    Attributes:
      mask: The mask.
      series: The series, of one study.
    """

    mask: FoundMask
    series: tuple[SeriesPlanes, ...]


def find_mask(task: tuple[MaskOptions, str]) -> FoundMask | Rejection:
    """Finds out a mask's format, and what it was drawn on. Runs in a worker."""
    options, name = task
    try:
        with guarded():
            format_ = options.format_of(name)
            references = None
            if format_ in ("dicom_seg", "rtstruct"):
                references = read_references(options.folder / name)
    except MaskError as error:
        return mask_rejection(name, error)
    return FoundMask(options, name, format_, references)


def read_slice(task: PngTask) -> SliceMasks | Rejection:
    """Reads the mask of one slice. Runs in a worker."""
    try:
        with guarded():
            bits, annotated, sha256 = read_png_mask(
                task.options, task.name, task.rows, task.columns
            )
    except MaskError as error:
        return mask_rejection(task.name, error)
    return {task.place: SliceMask(((task.name, sha256),), annotated, _marked(bits))}


def read_volume(task: VolumeTask) -> SliceMasks | Rejection:
    """Reads a mask, and places it on those of its series that it fits. Runs in a worker."""
    masks: SliceMasks = {}
    errors: list[MaskError] = []
    for series in task.series:
        try:
            with guarded():
                masks |= _placed(task.mask, series)
        except MaskError as error:  # noqa: PERF203 - a mask may fit one series and not another
            errors.append(error)
    return masks if masks else mask_rejection(task.mask.name, errors[0])


def _placed(mask: FoundMask, series: SeriesPlanes) -> SliceMasks:
    """What a mask tells of the slices of a series.

    Raises:
      MaskError: If it is not of this series.
    """
    path = mask.options.folder / mask.name
    if mask.references is not None:
        mask.references.check(series.patient_id, series.series_id, series.image_ids)
    # All slices have the file: it is placed anew when they are written.
    files = ((mask.name, mask_sha256(path)),)
    bits, annotated = place_mask(mask.options, mask.name, mask.format, series.planes)
    if mask.options.images is not None:
        check_image(mask.options.images, path, mask.name, series)
    return {
        place: SliceMask(files, known, _marked(of_slice))
        for place, of_slice, known in zip(series.places, bits, annotated, strict=True)
    }


def found_died(task: tuple[MaskOptions, str]) -> FoundMask | Rejection:
    """What stands for a mask that ended its worker twice."""
    return _died(task[1])


def slice_died(task: PngTask) -> SliceMasks | Rejection:
    """What stands for a mask that ended its worker twice."""
    return _died(task.name)


def volume_died(task: VolumeTask) -> SliceMasks | Rejection:
    """What stands for a mask that ended its worker twice."""
    return _died(task.mask.name)


def _died(name: str) -> Rejection:
    message = "ended the process that was to read it."
    return mask_rejection(name, MaskError(MaskReason.MASK_UNREADABLE, message))


def _marked(bits: np.ndarray) -> int:
    return int(np.bitwise_or.reduce(bits, axis=None))
