"""DICOM files: one file -> slices in Hounsfield units, or the reason why there is none.

`read_headers`, `read_slice` and `read_slices` read a file; `Header` and `Slice` are what they
return, and `DicomError` carries the `Reason` why a file has no slice. Loads no TensorFlow.
"""

from ich_tf.dicom.reader import (
    AIR_HU,
    MAX_FRAMES,
    MAX_INFLATED_BYTES,
    MAX_SIDE,
    SCANNERS,
    Header,
    Slice,
    read_headers,
    read_slice,
    read_slices,
)
from ich_tf.dicom.reasons import DicomError, Reason, Repair

__all__ = [
    "AIR_HU",
    "MAX_FRAMES",
    "MAX_INFLATED_BYTES",
    "MAX_SIDE",
    "SCANNERS",
    "DicomError",
    "Header",
    "Reason",
    "Repair",
    "Slice",
    "read_headers",
    "read_slice",
    "read_slices",
]
