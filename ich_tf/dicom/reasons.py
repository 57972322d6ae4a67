"""Why an input is left out, and what was mended: stable codes that files and users rely on."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ich_tf.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self


class _Code(str, enum.Enum):
    """A stable code, and what it means in a few words."""

    meaning: str

    def __new__(cls, code: str, meaning: str = "") -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member


class Reason(_Code):
    """Why an input is not converted. The values are stable: quarantine files hold them."""

    NOT_DICOM = "NOT_DICOM", "no DICOM file, or one whose header cannot be read"
    NOT_CT = "NOT_CT", "another modality"
    LOCALIZER = "LOCALIZER", "a scout, by its image type"
    NOT_AXIAL = "NOT_AXIAL", "a scout or a reformat, by its orientation"
    PHOTOMETRIC = "PHOTOMETRIC", "colour or palette"
    MULTI_FRAME = "MULTI_FRAME", "more frames than one, and nothing says where each lies"
    BURNED_IN = "BURNED_IN", "text in the pixels, which may name the patient"
    BAD_HEADER = "BAD_HEADER", "a required tag is missing or cannot be read"
    BAD_GEOMETRY = "BAD_GEOMETRY", "position, orientation or spacing"
    BAD_RESCALE = "BAD_RESCALE", "slope or intercept"
    TOO_LARGE = "TOO_LARGE", "more rows or columns than a CT slice has"
    NO_PIXELS = "NO_PIXELS", "no pixel data"
    TRUNCATED_PIXELS = "TRUNCATED_PIXELS", "fewer bytes than rows and columns ask for"
    NO_DECODER = "NO_DECODER", "a compression that no installed decoder reads"
    DECODE_FAILED = "DECODE_FAILED", "the decoder gave up"
    DECODER_DIED = "DECODER_DIED", "it crashed, or took all time or memory; alone in a process"
    HU_IMPLAUSIBLE = "HU_IMPLAUSIBLE", "all pixels alike, or values that no tissue has"
    UNREADABLE = "UNREADABLE", "the operating system, or an archive, could not give the bytes"
    LABEL_MISSING = "LABEL_MISSING", "an image without labels"
    LABEL_CONFLICT = "LABEL_CONFLICT", "labels that are incomplete or contradict each other"
    LABEL_AMBIGUOUS = "LABEL_AMBIGUOUS", "labels by a file name that several files have"
    IMAGE_MISSING = "IMAGE_MISSING", "labels without an image"
    DUPLICATE_IMAGE = "DUPLICATE_IMAGE", "a second file of the same image id"


class Repair(_Code):
    """A known defect that was mended, by name. The values are stable: records hold them."""

    RSNA_12BIT = "rsna_12bit", "12-bit unsigned pixels that wrapped around, wrong intercept"
    PADDING = "padding", "padding brighter than air, which would shine, became air"


class DicomError(InputError):
    """A file that gives no slice.

    Attributes:
      reason: The stable reason code.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:  # so that it crosses processes whole
        return type(self), (self.reason, str(self))


@dataclass(frozen=True)
class Rejection:
    """A line of quarantine.jsonl.

    Attributes:
      path: The input's name within the source folder.
      stage: `index`, `plan` or `execute`.
      reason: A stable reason code.
      message: What was found, and what was expected.
      sha256: Of the file, where it was read whole.
    """

    path: str
    stage: str
    reason: str
    message: str
    sha256: str = ""
