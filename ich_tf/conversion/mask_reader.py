"""Masks of planned slices, read and brought to the form in which records hold them."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ich_tf.conversion.mask_files import (
    MaskOptions,
    mask_rejection,
    mask_sha256,
    place_mask,
    read_png_mask,
)
from ich_tf.conversion.mask_labels import SliceMask, annotated_classes
from ich_tf.conversion.plan import PlannedShard, PlannedSlice
from ich_tf.conversion.series_planes import Place
from ich_tf.dicom.header import Header
from ich_tf.dicom.reasons import DicomError, Rejection
from ich_tf.dicom.source_reader import SourceReader
from ich_tf.dicom.sources import Source
from ich_tf.masks.bits import area_mm2, as_stored, pack, unpack
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.guard import guarded
from ich_tf.masks.planes import Plane
from ich_tf.metrics.extents import slice_extents_mm
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
    """Reads the masks of a shard's slices.

    Attributes:
      rejections: Masks that could not be read, by name, with their reasons.
    """

    def __init__(
        self, options: MaskOptions, shard: PlannedShard, sources: Iterable[Source]
    ) -> None:
        """Reads nothing yet.

        Args:
          options: Options of the masks.
          shard: Shard of the slices.
          sources: Files of the slices, whose headers say where a mask with a geometry goes.
        """
        self._options = options
        self._shard = shard
        self._sources = {source.name: source for source in sources}
        self._places_mm = {series.keys: series.places_mm() for series in shard.series}
        # Masks of the series that was read last, placed on its slices.
        self._series = ("", "", "")
        self._placed: dict[str, dict[Place, np.ndarray] | MaskError] = {}
        self.rejections: dict[str, Rejection] = {}

    def read(self, planned: PlannedSlice, header: Header, size: int) -> StoredMask:
        """Reads the mask of a slice; the mask of a slab is the union of its slices' masks.

        The area of a slab is the mean of its slices' areas, so that volumes stay as they are.
        Without a mask that was planned, only classes that are labelled 0 are annotated.

        Args:
          planned: Planned slice.
          header: Header of the slice.
          size: Number of rows and of columns of the stored image.
        """
        bits = np.zeros((len(planned.parts()), header.rows, header.columns), np.uint8)
        annotated = planned.annotated
        name = ""
        try:
            for name, sha256, part in planned.masks:
                with guarded():
                    self._add_file(bits, (name, sha256, part), planned, header)
        except MaskError as error:
            self.rejections.setdefault(name, mask_rejection(name, error))
            bits[:] = 0
            annotated &= annotated_classes(SliceMask(), planned.labels)[0]
        return _stored(bits, annotated, planned, header, size)

    def statistics(
        self, planned: PlannedSlice, mask: StoredMask, thickness_mm: float
    ) -> MaskStatistics:
        """Statistics of a slice's mask.

        Args:
          planned: Planned slice.
          mask: Mask of the slice.
          thickness_mm: Thickness of the slice, mm, which is its extent if it is the only one of its
            series; 0, and then no volume, if it is unknown.
        """
        extents_mm = slice_extents_mm(self._places_mm[_series_of(planned)], thickness_mm)
        extent_mm = float(np.nan_to_num(extents_mm[planned.slice_index]))
        return MaskStatistics.of_slice(mask.annotated, mask.lesion_mm2, extent_mm)

    def _add_file(
        self, bits: np.ndarray, file: tuple[str, str, int], planned: PlannedSlice, header: Header
    ) -> None:
        """Adds what a file marks to the bits of a slice, or of the slices of a slab."""
        name, sha256, part = file
        format_ = self._options.format_of(name)
        if format_ == "png":
            mask, _, found = read_png_mask(self._options, name, header.rows, header.columns)
            _check_unchanged(found, sha256)
            bits[part] |= mask
            return
        if self._series != _series_of(planned):
            self._series, self._placed = _series_of(planned), {}
        if name not in self._placed:
            try:
                self._placed[name] = self._place(name, sha256, format_)
            except MaskError as error:
                self._placed[name] = error
        placed = self._placed[name]
        if isinstance(placed, MaskError):
            raise placed
        for of_part, slice_ in zip(bits, planned.parts(), strict=True):
            of_part |= placed.get((slice_.name, slice_.frame), np.uint8(0))

    def _place(self, name: str, sha256: str, format_: str) -> dict[Place, np.ndarray]:
        """A mask on all slices of its series that were planned with it."""
        _check_unchanged(mask_sha256(self._options.folder / name), sha256)
        (series,) = (series for series in self._shard.series if series.keys == self._series)
        planes: dict[Place, Plane] = {}
        with SourceReader() as reader:
            headers = functools.cache(functools.partial(self._headers, reader))
            for planned in series.slices():
                if all(file != name for file, *_ in planned.masks):
                    continue
                for part in planned.parts():
                    # The first of its files that can be read has the same header as the others.
                    files = (headers(file) for file in (part.name, *part.alternates))
                    header = next(
                        (found[part.frame] for found in files if part.frame in found), None
                    )
                    if header is not None:
                        planes[part.name, part.frame] = Plane.of(header)
        if not planes:
            raise MaskError(MaskReason.MASK_OTHER_SERIES, "none of its slices can be read.")
        bits, _ = place_mask(self._options, name, format_, [*planes.values()])
        return dict(zip(planes, bits, strict=True))

    def _headers(self, reader: SourceReader, name: str) -> dict[int, Header]:
        """Headers of a file's slices by frame; none if it cannot be read."""
        with contextlib.suppress(DicomError):
            headers, _ = reader.file(self._sources[name]).scan()
            return {header.frame: header for header in headers}
        return {}


def _series_of(planned: PlannedSlice) -> tuple[str, str, str]:
    return planned.patient_key, planned.study_key, planned.series_key


def _check_unchanged(found: str, planned: str) -> None:
    if found != planned:
        raise MaskError(
            MaskReason.MASK_UNREADABLE,
            "is not the file that the plan was made from: it was changed or replaced meanwhile.",
        )


def _stored(
    bits: np.ndarray, annotated: int, planned: PlannedSlice, header: Header, size: int
) -> StoredMask:
    areas = np.mean(
        [[area_mm2(mask, header.spacing_mm) for mask in unpack(of_part)] for of_part in bits],
        axis=0,
    )
    masks = unpack(np.bitwise_or.reduce(bits))
    known = [bool(annotated >> k & 1) for k in range(len(masks))]
    masks[~np.array(known)] = False
    small = np.zeros((size, size), np.uint8)
    if masks.any():
        small = pack(np.stack([as_stored(mask, planned.crop, size) for mask in masks]))
    known_areas = tuple(
        float(area) if is_known else math.nan for area, is_known in zip(areas, known, strict=True)
    )
    return StoredMask(encode_mask(small), annotated, known_areas)
