"""Record schema: the fields of a stored slice, and the features that hold them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ich_tf.errors import InputError
from ich_tf.labels import CLASSES

# Version 2 added ct/scanner, version 3 the description of the series and slabs, version 4 masks.
SCHEMA_VERSION = 4
# Version 5 added labels of exams and unknown labels. Only conversions that have any write it: all
# others keep their bytes.
EXAM_SCHEMA_VERSION = 5
# Versions that are read; a field that a version lacks has the default of `SliceRecord`.
READABLE_VERSIONS = (2, 3, 4, 5)
# png, raw and jpeg hold windows, jpeg with losses; hu16 holds `windows.store_hu` as a 16-bit PNG.
ENCODINGS = ("png", "raw", "hu16", "jpeg")
LOSSY = ("jpeg",)
# What a label may speak of, from the smallest on.
LABEL_LEVELS = ("slice", "series", "study", "patient")
# Ways to crop a slice before it is resized.
CROPS = ("none", "head")


class CorruptRecordError(InputError):
    """A payload that is not a record of this schema."""


@dataclass(frozen=True)
class SliceRecord:
    """A stored slice. No other tag of the DICOM file is ever written.

    Attributes:
      encoded: Encoded image: a PNG of 1 or 3 channels, raw uint8, a JPEG or a 16-bit PNG.
      format: Image format, one of `ENCODINGS`.
      height: Rows of the stored image.
      width: Columns of the stored image.
      channels: Channels of the stored image: one per window; one for hu16.
      source_id: RSNA's image id, or the keyed hash of the SOP instance UID.
      sha256: SHA-256 of the DICOM file, hexadecimal.
      labels: 0 or 1 per class, in the order of `CLASSES`; 0 where it is unknown.
      label_present: 1 for images of which a label is known, 0 for others.
      patient_key: Patient id: RSNA's, or a keyed hash.
      study_key: Study id: RSNA's, or a keyed hash.
      series_key: Series id: RSNA's, or a keyed hash.
      slice_index: Position in the ordered series, from 0.
      num_slices: Number of slices of the series.
      z_mm: Position along the normal of the series, mm.
      spacing_mm: Distance between rows and between columns of the original image, mm.
      gantry_tilt_deg: Tilt of the gantry by the image's orientation, degrees.
      scanner: Maker of the scanner, one of `dicom.SCANNERS`, `other` or `unknown`.
      repairs: Names of the repairs that were applied.
      crop: Part of the original image that was kept before resizing: top, left, rows, columns, px;
        empty for the whole image.
      kernel: Class of the reconstruction kernel, one of `dicom.kernels.KERNELS`.
      thickness_mm: Thickness of the slice, or of the slab, mm; 0 if unknown.
      contrast: Whether contrast agent was given, one of `dicom.description.CONTRASTS`.
      origin: Whether a scan or a computation made it, one of `dicom.description.ORIGINS`.
      content: What it shows, one of `dicom.description.CONTENTS`.
      slab: Number of slices whose mean it is; 1 for a slice as it was scanned.
      mask: PNG of the mask, uint8 of the stored image's size, in which bit k marks class k; empty
        where nothing is marked.
      annotated: Bit k is set if the mask tells where class k is, and where it is not.
      lesion_mm2: Area of each class in the slice at its original resolution, mm2; NaN where it is
        not annotated; empty in a conversion without masks, whose records have none of these three.
      labels_known: Bit k is set if the slice's label of class k is known; -1 stands for all of a
        labelled image, and none of another.
      exam_labels: Labels of the exam, each in [0, 1], as shares of readers, or NaN where it is
        unknown; empty in a conversion without labels of exams or unknown ones, whose records have
        none of these three.
      label_level: Level of the exam's labels, one of `LABEL_LEVELS`; `slice` where they follow from
        those of the slices, empty where all are unknown.
      schema_version: `SCHEMA_VERSION` of the record.
    """

    encoded: bytes
    format: str
    height: int
    width: int
    channels: int
    source_id: str
    sha256: str
    labels: tuple[int, ...]
    label_present: int
    patient_key: str
    study_key: str
    series_key: str
    slice_index: int
    num_slices: int
    z_mm: float
    spacing_mm: tuple[float, float]
    gantry_tilt_deg: float
    scanner: str
    repairs: tuple[str, ...]
    crop: tuple[int, ...] = ()
    kernel: str = "unknown"
    thickness_mm: float = 0.0
    contrast: str = "unknown"
    origin: str = "unknown"
    content: str = "unknown"
    slab: int = 1
    mask: bytes = b""
    annotated: int = 0
    lesion_mm2: tuple[float, ...] = ()
    labels_known: int = -1
    exam_labels: tuple[float, ...] = ()
    label_level: str = ""
    schema_version: int = SCHEMA_VERSION


# Name, type and number of values (None for any) of the feature that holds each field.
FEATURES: dict[str, tuple[str, type, int | None]] = {
    "encoded": ("image/encoded", bytes, 1),
    "format": ("image/format", bytes, 1),
    "height": ("image/height", int, 1),
    "width": ("image/width", int, 1),
    "channels": ("image/channels", int, 1),
    "source_id": ("image/source_id", bytes, 1),
    "sha256": ("image/key/sha256", bytes, 1),
    "labels": ("image/class/multilabel", int, len(CLASSES)),
    "label_present": ("image/class/label_present", int, 1),
    "patient_key": ("ct/patient_key", bytes, 1),
    "study_key": ("ct/study_key", bytes, 1),
    "series_key": ("ct/series_key", bytes, 1),
    "slice_index": ("ct/slice_index", int, 1),
    "num_slices": ("ct/num_slices", int, 1),
    "z_mm": ("ct/z_mm", float, 1),
    "spacing_mm": ("ct/spacing_mm", float, 2),
    "gantry_tilt_deg": ("ct/gantry_tilt_deg", float, 1),
    "scanner": ("ct/scanner", bytes, 1),
    "repairs": ("ct/repairs", bytes, None),
    "crop": ("ct/crop", int, None),
    "kernel": ("ct/kernel", bytes, 1),
    "thickness_mm": ("ct/thickness_mm", float, 1),
    "contrast": ("ct/contrast", bytes, 1),
    "origin": ("ct/origin", bytes, 1),
    "content": ("ct/content", bytes, 1),
    "slab": ("ct/slab", int, 1),
    "mask": ("segmentation/encoded", bytes, 1),
    "annotated": ("segmentation/annotated", int, 1),
    "lesion_mm2": ("ct/lesion_mm2", float, len(CLASSES)),
    "labels_known": ("image/class/known", int, 1),
    "exam_labels": ("ct/exam_labels", float, len(CLASSES)),
    "label_level": ("ct/label_level", bytes, 1),
    "schema_version": ("ct/schema_version", int, 1),
}
# Fields that only records of conversions with masks have.
MASK_FIELDS = ("mask", "annotated", "lesion_mm2")
# Fields that only records of conversions with labels of exams, or with unknown labels, have.
EXAM_FIELDS = ("labels_known", "exam_labels", "label_level")
# Fields that records of version 2, or without masks or exams, lack, with the value of then.
_OF_VERSION_3 = ("kernel", "thickness_mm", "contrast", "origin", "content", "slab")
_ADDED = (*_OF_VERSION_3, *MASK_FIELDS, *EXAM_FIELDS)
ADDED_FIELDS: dict[str, Any] = {
    field.name: field.default for field in fields(SliceRecord) if field.name in _ADDED
}
assert set(FEATURES) == {field.name for field in fields(SliceRecord)}
