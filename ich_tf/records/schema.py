"""The record schema: one `tf.train.Example` a slice.

`encode` writes and `decode` reads one record without TensorFlow, so that conversion workers
start in a second and need 110 MiB; `parse` reads batches with it. All are driven by `FEATURES`.
The encoder writes the protobuf wire format itself: a protobuf map serializes its keys in no
fixed order, which would make a shard's bytes differ from run to run.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from ich_tf.errors import InputError
from ich_tf.labels import CLASSES

if TYPE_CHECKING:
    pass


# 2: ct/scanner came.
SCHEMA_VERSION = 2
# png and raw hold windows, hu16 holds `windows.store_hu` as a PNG of 16 bits. jpeg holds windows
# too, and is the one that loses something.
ENCODINGS = ("png", "raw", "hu16", "jpeg")
LOSSY = ("jpeg",)
# What is cut out of a slice before it is resized.
CROPS = ("none", "head")


class CorruptRecordError(InputError):
    """A payload that is no record of this schema."""


@dataclass(frozen=True)
class SliceRecord:
    """One slice as it is stored. No other tag of the DICOM file is ever written.

    Attributes:
      encoded: The image's bytes: a PNG of 1 or 3 channels, raw uint8, or a 16-bit PNG.
      format: One of `ENCODINGS`.
      height, width, channels: Of the stored image.
      source_id: RSNA's image id, or the keyed hash of the SOP instance UID.
      sha256: Of the DICOM file, hexadecimal.
      labels: 0 or 1, in the order of `CLASSES`; zeros where `label_present` is 0.
      label_present: 0 for unlabelled images.
      patient_key, study_key, series_key: Hashed unless RSNA's.
      slice_index, num_slices: Position in the ordered series.
      z_mm: Position along the series' normal.
      spacing_mm: Between rows, between columns, of the original image.
      gantry_tilt_deg: From the orientation.
      scanner: Its maker, one of `dicom.SCANNERS`, `other` or `unknown`.
      repairs: The named repairs that were applied.
      crop: What was cut out of the original image before resizing: top, left, rows, columns;
        empty where it is whole.
      schema_version: `SCHEMA_VERSION`.
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
    schema_version: int = SCHEMA_VERSION


# Field of SliceRecord -> feature's name, type, number of values (None: any number).
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
    "schema_version": ("ct/schema_version", int, 1),
}
assert set(FEATURES) == {field.name for field in fields(SliceRecord)}
