"""Reasons why an input is left out, and repairs: stable codes that files and users rely on."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ich_tf.errors import InputError
from ich_tf.runtime.names import printable

if TYPE_CHECKING:
    from typing_extensions import Self


class Code(str, enum.Enum):
    """A stable code.

    Attributes:
      meaning: Explanation of the code in a few words, for reports.
    """

    meaning: str

    def __new__(cls, code: str, meaning: str = "") -> Self:
        """Makes a member of a code and its meaning."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member


class Reason(Code):
    """Reason why an input is not converted. The values are stable: quarantine files hold them."""

    NOT_DICOM = "NOT_DICOM", "no DICOM file, or one whose header cannot be read"
    NOT_A_FILE = "NOT_A_FILE", "a pipe, a socket, a device, or a link that leads nowhere"
    BAD_ARCHIVE = "BAD_ARCHIVE", "an archive, or a member of one, that is damaged or cut"
    ENCRYPTED_ARCHIVE = "ENCRYPTED_ARCHIVE", "a member of an archive that needs a password"
    NESTED_ARCHIVE = "NESTED_ARCHIVE", "an archive within a folder or an archive"
    NOT_CT = "NOT_CT", "another modality"
    LOCALIZER = "LOCALIZER", "a scout, by its image type"
    NOT_AXIAL = "NOT_AXIAL", "a scout or a reformat, by its orientation"
    PHOTOMETRIC = "PHOTOMETRIC", "colour or palette"
    MULTI_FRAME = "MULTI_FRAME", "several frames without the position of each"
    BURNED_IN = "BURNED_IN", "text in the pixels, which may name the patient"
    BAD_HEADER = "BAD_HEADER", "a required tag is missing or cannot be read"
    BAD_GEOMETRY = "BAD_GEOMETRY", "position, orientation or spacing"
    BAD_RESCALE = "BAD_RESCALE", "slope or intercept"
    TOO_LARGE = "TOO_LARGE", "more rows or columns than a CT slice has"
    NO_PIXELS = "NO_PIXELS", "no pixel data"
    TRUNCATED_PIXELS = "TRUNCATED_PIXELS", "fewer bytes than rows and columns require"
    NO_DECODER = "NO_DECODER", "a compression that no installed decoder reads"
    DECODE_FAILED = "DECODE_FAILED", "the decoder failed"
    DECODER_DIED = "DECODER_DIED", "the decoder crashed, or exceeded its time or memory"
    DECODER_TIMEOUT = "DECODER_TIMEOUT", "the machine was too busy for the decoder to finish"
    NOT_HOUNSFIELD = "NOT_HOUNSFIELD", "another quantity, by RescaleType, ImageType or a table"
    HU_IMPLAUSIBLE = "HU_IMPLAUSIBLE", "all pixels equal, or values that no tissue has"
    UNREADABLE = "UNREADABLE", "the operating system could not give the bytes, or list a folder"
    LABEL_MISSING = "LABEL_MISSING", "an image without labels"
    LABEL_CONFLICT = "LABEL_CONFLICT", "labels that are incomplete or contradict each other"
    LABEL_AMBIGUOUS = "LABEL_AMBIGUOUS", "labels by an id that could mean several files"
    IMAGE_MISSING = "IMAGE_MISSING", "labels without an image"
    DUPLICATE_IMAGE = "DUPLICATE_IMAGE", "a second file of the same image id"
    IMAGE_CONFLICT = "IMAGE_CONFLICT", "a second file of the same image id, with other content"
    SERIES_NOT_CHOSEN = "SERIES_NOT_CHOSEN", "a series that --series leaves out"
    FILE_CHANGED = "FILE_CHANGED", "the file was another one when its header was read"
    INTERNAL = "INTERNAL", "an error that nobody foresaw; please report it"

    @property
    def is_of_machine(self) -> bool:
        """Whether it says nothing of the file: the same command tries the file again."""
        return self in _OF_MACHINE

    @property
    def is_choice(self) -> bool:
        """Whether the input could be used and is not wanted; --max_bad_fraction ignores it."""
        return self is Reason.SERIES_NOT_CHOSEN


_OF_MACHINE = (
    Reason.UNREADABLE,
    Reason.NO_DECODER,
    Reason.DECODER_TIMEOUT,
    Reason.FILE_CHANGED,
)


# Message of DECODER_DIED for a file that ended its reader.
READER_DIED = "ended the process that was to read it."


class Repair(Code):
    """Known defect that was repaired. The values are stable: records hold them."""

    RSNA_12BIT = "rsna_12bit", "12-bit unsigned pixels that wrapped around, wrong intercept"
    PADDING = "padding", "padding brighter than air, which would shine, became air"
    NO_PREAMBLE = "no_preamble", "a file without preamble and DICM"
    NO_META = "no_meta", "a file without meta information, or one that names no transfer syntax"
    PADDING_EXCESS = "padding_excess", "bytes after the pixels, which were left out"
    NO_DELIMITER = "no_delimiter", "compressed pixels without the delimiter that ends them"


_Code = TypeVar("_Code", bound=Code)


class ReasonError(InputError, Generic[_Code]):
    """An input is left out, for a reason that has a code.

    Attributes:
      reason: Stable code of the reason.
    """

    def __init__(self, reason: _Code, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:  # the reason would be lost between processes
        return type(self), (self.reason, str(self))


class DicomError(ReasonError[Reason]):
    """A file has no usable slice.

    Attributes:
      reason: Stable code of the reason.

    Examples:
      >>> error = DicomError(Reason.NO_PIXELS, "PixelData is missing.")
      >>> error.reason.value, error.reason.meaning
      ('NO_PIXELS', 'no pixel data')
    """


def unreadable(error: OSError) -> DicomError:
    """Error of a file that the operating system does not give."""
    # The kind of error, not its text, which holds paths.
    kind = error.strerror or type(error).__name__
    return DicomError(Reason.UNREADABLE, f"cannot be read ({kind}).")


def special_file() -> DicomError:
    """Error of what is no regular file, in a folder or in an archive."""
    return DicomError(
        Reason.NOT_A_FILE, "is a pipe, a socket, a device or a link that leads nowhere."
    )


@dataclass(frozen=True)
class Rejection:
    """An input that is left out, as a line of quarantine.jsonl.

    Attributes:
      path: Path of the input within the source folder, as texts show it (`names.printable`).
      stage: Stage of the conversion: `index`, `plan` or `execute`; `mask` for a mask, whose image
        is converted all the same.
      reason: Stable code, a value of `Reason`, or of `masks.errors.MaskReason` for a mask.
      message: Description of the failure: the value found, and the value expected.
      sha256: SHA-256 of the file, hexadecimal; empty if it was not read whole.
    """

    path: str
    stage: str
    reason: str
    message: str
    sha256: str = ""

    @property
    def is_of_machine(self) -> bool:
        """Whether the reason is one of the machine (`Reason.is_of_machine`)."""
        return self.reason in _OF_MACHINE

    @property
    def is_of_mask(self) -> bool:
        """Whether a mask is left out, and no image."""
        return self.stage == "mask"

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", printable(self.path))


def quarantine_path(name: str, frame: int) -> str:
    """Path of a slice as texts show it: the file's, with `#frame` in a multi-frame file.

    Examples:
      >>> quarantine_path("a.dcm", 0), quarantine_path("a.dcm", 2)
      ('a.dcm', 'a.dcm#2')
    """
    shown = printable(name)
    return f"{shown}#{frame}" if frame else shown


def split_quarantine_path(path: str) -> tuple[str, int]:
    """File and frame of what may be a path of `quarantine_path`; frame 0 if it names none.

    Examples:
      >>> split_quarantine_path("a.dcm#2"), split_quarantine_path("a#b")
      (('a.dcm', 2), ('a#b', 0))
    """
    file, mark, frame = path.rpartition("#")
    return (file, int(frame)) if mark and frame.isdecimal() else (path, 0)
