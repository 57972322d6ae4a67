"""Masks of planned slices, read and brought to the form in which records hold them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ich_tf.conversion.mask_index import mask_rejection, read_mask_bytes
from ich_tf.conversion.mask_labels import SliceMask, annotated_classes
from ich_tf.conversion.plan import PlannedShard, PlannedSlice
from ich_tf.dicom.header import Header
from ich_tf.dicom.reasons import Rejection
from ich_tf.masks.bits import area_mm2, as_stored, pack, unpack
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.png_masks import read_png
from ich_tf.records.mask_images import encode_mask
from ich_tf.records.mask_statistics import MaskStatistics


@dataclass(frozen=True)
class StoredMask:
    """Mask of a slice as its record holds it; the fields are those of `records.SliceRecord`.

    Attributes:
      mask: PNG of the bits; empty where nothing is marked.
      annotated: Bits of the annotated classes.
      lesion_mm2: Area of each class, mm2; NaN where it is not annotated.
    """

    mask: bytes
    annotated: int
    lesion_mm2: tuple[float, ...]


class MaskReader:
    """Reads the masks of planned slices.

    Attributes:
      rejections: Masks that could not be read, with their reasons.
    """

    def __init__(self, folder: Path, shard: PlannedShard) -> None:
        """Reads nothing yet.

        Args:
          folder: Folder of the masks.
          shard: Shard of the slices.
        """
        self._folder = folder
        self._distances_mm = {series.keys: series.distance_mm for series in shard.series}
        self.rejections: list[Rejection] = []

    def read(self, planned: PlannedSlice, header: Header, size: int) -> StoredMask:
        """Reads the mask of a slice; the mask of a slab is the union of its slices' masks.

        Without a mask that was planned, only classes that are labelled 0 are annotated.

        Args:
          planned: Planned slice.
          header: Header of the slice.
          size: Number of rows and of columns of the stored image.
        """
        bits = np.zeros((header.rows, header.columns), np.uint8)
        annotated = planned.annotated
        try:
            for name, sha256 in planned.masks:
                bits |= self._read_file(name, sha256, header)
        except MaskError as error:
            self.rejections.append(mask_rejection(name, error))
            bits[:] = 0
            annotated &= annotated_classes(SliceMask(), planned.labels)[0]
        return _stored(bits, annotated, planned, header, size)

    def statistics(self, planned: PlannedSlice, mask: StoredMask) -> MaskStatistics:
        """Statistics of a slice's mask."""
        keys = planned.patient_key, planned.study_key, planned.series_key
        return MaskStatistics.of_slice(mask.annotated, mask.lesion_mm2, self._distances_mm[keys])

    def _read_file(self, name: str, sha256: str, header: Header) -> np.ndarray:
        data = read_mask_bytes(self._folder / name)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise MaskError(
                MaskReason.MASK_UNREADABLE,
                "is not the file that the plan was made from: it was changed or replaced "
                "meanwhile.",
            )
        return read_png(data, header.rows, header.columns)[0]


def _stored(
    bits: np.ndarray, annotated: int, planned: PlannedSlice, header: Header, size: int
) -> StoredMask:
    masks = unpack(bits)
    known = [bool(annotated >> k & 1) for k in range(len(masks))]
    areas = tuple(
        area_mm2(mask, header.spacing_mm) if is_known else math.nan
        for mask, is_known in zip(masks, known, strict=True)
    )
    masks[~np.array(known)] = False
    small = np.zeros((size, size), np.uint8)
    if masks.any():
        small = pack(np.stack([as_stored(mask, planned.crop, size) for mask in masks]))
    return StoredMask(encode_mask(small), annotated, areas)
