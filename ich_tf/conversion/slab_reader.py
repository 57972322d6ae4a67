"""Reading a planned slab: the mean of its slices, or of those that can be read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ich_tf.conversion.plan import PlannedSlice
from ich_tf.conversion.planned_reader import PlannedReader
from ich_tf.dicom.geometry import places_along
from ich_tf.dicom.guard import guarded
from ich_tf.dicom.reader import Slice
from ich_tf.dicom.reasons import DicomError, Rejection


@dataclass
class Slab:
    """A slab as it was read.

    Attributes:
      slice_: Mean of the slices, with the header of the middle one and the slab's thickness; None
        if no slice could be read.
      num_slices: Number of slices of the mean.
      sha256: SHA-256 of the middle slice's file.
      rejections: Slices that could not be read.
    """

    slice_: Slice | None = None
    num_slices: int = 0
    sha256: str = ""
    rejections: list[Rejection] = field(default_factory=list)


def read_slab(reader: PlannedReader, planned: PlannedSlice) -> Slab:
    """Reads the slices of a slab, and averages those that can be read.

    Args:
      reader: Reader of the slices' files.
      planned: Planned slab.
    """
    slab = Slab()
    slices: list[Slice] = []
    total: np.ndarray | None = None
    for part in planned.parts():
        try:
            with guarded():
                slice_ = reader.read(part, part.name)
        except DicomError as error:
            message = str(error)
            slab.rejections.append(
                Rejection(part.path, "execute", error.reason.value, message, reader.sha256)
            )
            continue
        # Exact in float64: the order of the files cannot matter.
        total = slice_.hu.astype(np.float64) if total is None else total + slice_.hu
        is_middle = (part.name, part.frame) == (planned.name, planned.frame)
        if slab.slice_ is None or is_middle:
            slab.slice_, slab.sha256 = slice_, reader.sha256
        slices.append(replace(slice_, hu=slice_.hu[:0]))
    if slab.slice_ is None or total is None:
        return slab
    slab.num_slices = len(slices)
    repairs = dict.fromkeys(repair for slice_ in slices for repair in slice_.repairs)
    slab.slice_ = replace(
        slab.slice_,
        header=replace(slab.slice_.header, thickness_mm=_thickness_mm(slices)),
        hu=(total / len(slices)).astype(np.float32),
        repairs=tuple(repairs),
    )
    return slab


def _thickness_mm(slices: list[Slice]) -> float:
    """Length of the body that slices cover together, mm; 0 if unknown."""
    headers = [slice_.header for slice_ in slices]
    places = places_along(headers)
    length = max(places) - min(places)
    one = headers[0].thickness_mm or (length / (len(slices) - 1) if len(slices) > 1 else 0.0)
    return round(length + one, 3)
