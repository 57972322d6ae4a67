"""DICOM files: a file -> its CT slices in Hounsfield units, or the reason why it has none.

`read_headers`, `read_slice` and `read_slices` read a file; `Header` and `Slice` are what they
return, and `DicomError` carries the `Reason` why a file has no slice. TensorFlow is not imported.
"""

from ich_tf.dicom.encoding import MAX_INFLATED_BYTES
from ich_tf.dicom.frames import MAX_FRAMES
from ich_tf.dicom.header import MAX_SIDE, SCANNERS, Header
from ich_tf.dicom.pixels import AIR_HU
from ich_tf.dicom.reader import DicomFile, Slice, read_headers, read_slice, read_slices
from ich_tf.dicom.reasons import DicomError, Reason, Repair

__all__ = [
    "AIR_HU",
    "MAX_FRAMES",
    "MAX_INFLATED_BYTES",
    "MAX_SIDE",
    "SCANNERS",
    "DicomError",
    "DicomFile",
    "Header",
    "Reason",
    "Repair",
    "Slice",
    "read_headers",
    "read_slice",
    "read_slices",
]
