"""One DICOM file -> one axial CT slice in Hounsfield units, or a reason why not.

Values are read from the raw data elements and validated here: pydicom's own conversion
accepts a rescale slope of nan and warns of RSNA's UIDs (`ID_...`), which are no valid UIDs.
Clauses cite DICOM PS3.3 (information objects) and PS3.5 (encoding), 2024.
"""

from __future__ import annotations

import enum
import io
import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from ich_tf.errors import InputError

AIR_HU = -1000.0
MAX_SIDE = 4096
# RSNA's 16-bit files reach -1024, GE pads with -1500 to -3024: beyond this it is no intercept.
_MAX_INTERCEPT = 10_000.0
_MAX_SLOPE = 100.0
# The cosine of the angle between slice normal and body axis. Gantries tilt by 30 degrees at
# most (cosine 0.87); scouts are at 90.
_MIN_AXIAL_COSINE = 0.7


class Reason(str, enum.Enum):
    """Why an input is not converted. The values are stable: quarantine files hold them."""

    NOT_DICOM = "NOT_DICOM"  # no DICOM file, or one whose header cannot be read
    NOT_CT = "NOT_CT"  # another modality
    LOCALIZER = "LOCALIZER"  # a scout, by its image type
    NOT_AXIAL = "NOT_AXIAL"  # a scout or a reformat, by its orientation
    PHOTOMETRIC = "PHOTOMETRIC"  # colour, palette or inverted pixels
    MULTI_FRAME = "MULTI_FRAME"  # more frames than one
    BAD_HEADER = "BAD_HEADER"  # a required tag is missing or cannot be read
    BAD_GEOMETRY = "BAD_GEOMETRY"  # position, orientation or spacing
    BAD_RESCALE = "BAD_RESCALE"  # slope or intercept
    TOO_LARGE = "TOO_LARGE"  # more rows or columns than a CT slice has
    NO_PIXELS = "NO_PIXELS"  # no pixel data
    TRUNCATED_PIXELS = "TRUNCATED_PIXELS"  # fewer bytes than rows and columns ask for
    NO_DECODER = "NO_DECODER"  # a compression that no installed decoder reads
    DECODE_FAILED = "DECODE_FAILED"  # the decoder gave up
    HU_IMPLAUSIBLE = "HU_IMPLAUSIBLE"  # all pixels alike, or values that no tissue has
    UNREADABLE = "UNREADABLE"  # the operating system, or an archive, could not give the bytes
    LABEL_MISSING = "LABEL_MISSING"  # an image without labels
    IMAGE_MISSING = "IMAGE_MISSING"  # labels without an image
    DUPLICATE_IMAGE = "DUPLICATE_IMAGE"  # a second file of the same image id


class Repair(str, enum.Enum):
    """A known defect that was mended, by name. The values are stable: records hold them."""

    RSNA_12BIT = "rsna_12bit"  # 12-bit unsigned pixels that wrapped around, wrong intercept


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
class Header:
    """What a CT slice's header says of its place.

    Attributes:
      image_id: SOP instance UID.
      patient_id, study_id, series_id: As in the file; `series_id` is the series' UID.
      rows, columns: Pixels.
      position_mm: Centre of the first pixel, patient coordinates (PS3.3 C.7.6.2.1.1).
      orientation: Unit vectors along a row and along a column, patient coordinates.
      spacing_mm: Between rows, between columns.
    """

    image_id: str
    patient_id: str
    study_id: str
    series_id: str
    rows: int
    columns: int
    position_mm: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    spacing_mm: tuple[float, float]

    @property
    def normal(self) -> np.ndarray:
        """The slice's unit normal, float64 [3]; towards the head for a supine axial slice."""
        row, column = np.reshape(self.orientation, (2, 3))
        normal = np.cross(row, column)
        return np.asarray(normal / np.linalg.norm(normal))

    @property
    def gantry_tilt_deg(self) -> float:
        """Angle between column and horizontal, degrees.

        From the orientation: makers give GantryDetectorTilt opposite signs.
        """
        return math.degrees(math.asin(max(-1.0, min(1.0, self.orientation[5]))))


@dataclass(frozen=True, eq=False)
class Slice:
    """One CT slice.

    Attributes:
      header: Where it is.
      hu: Hounsfield units, float32 [rows, columns].
      repairs: The named repairs that were applied.
    """

    header: Header
    hu: np.ndarray
    repairs: tuple[Repair, ...]


# What pydicom raises on broken files, seen on real ones.
_PARSE_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    AttributeError,
    EOFError,
    KeyError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

_HEADER_KEYWORDS = (
    "ImageType",
    "SOPInstanceUID",
    "Modality",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
)
_HEADER_TAGS: list[Any] = [Tag(keyword) for keyword in _HEADER_KEYWORDS]
_PIXEL_DATA = Tag("PixelData")


def read_header(file: BinaryIO) -> Header:
    """Reads where a slice is, without its pixels.

    Args:
      file: A seekable binary file at its start.

    Raises:
      DicomError: If it is no axial CT slice with a valid geometry.
    """
    return _header(_parse(file, stop_before_pixels=True, specific_tags=_HEADER_TAGS))


def read_slice(data: bytes) -> Slice:
    """Reads a whole DICOM file into Hounsfield units.

    Args:
      data: The file's bytes.

    Raises:
      DicomError: If it is no axial CT slice, or its pixels cannot be read whole.
    """
    dataset = _parse(io.BytesIO(data))
    header = _header(dataset)
    slope, intercept = _rescale(dataset)
    stored, bits_stored, signed = _stored_values(dataset, header)
    repairs: tuple[Repair, ...] = ()
    if bits_stored == 12 and not signed and intercept > -100:
        # Values above 3095 wrapped around when these files were made, and the intercept was
        # lost; known from RSNA's stage-2 data.
        stored = stored.astype(np.int32) + 1000
        stored[stored >= 4096] -= 4096
        intercept = -1000.0
        repairs = (Repair.RSNA_12BIT,)
    hu = stored.astype(np.float32)
    if slope != 1.0:
        hu *= np.float32(slope)
    if intercept != 0.0:
        hu += np.float32(intercept)
    low, high = float(hu.min()), float(hu.max())
    if low == high:
        raise DicomError(
            Reason.HU_IMPLAUSIBLE, f"every pixel is {low:g} HU; expected a head or a phantom."
        )
    return Slice(header, hu, repairs)


def _parse(file: BinaryIO, **options: Any) -> FileDataset:
    try:
        return pydicom.dcmread(file, **options)
    except _PARSE_ERRORS as error:
        raise DicomError(
            Reason.NOT_DICOM, f"not readable as DICOM ({type(error).__name__}: {error})."
        ) from error


def _header(dataset: FileDataset) -> Header:
    modality = _text(dataset, "Modality")
    if modality != "CT":
        raise DicomError(Reason.NOT_CT, f"Modality is {modality or 'missing'}; expected CT.")
    photometric = _text(dataset, "PhotometricInterpretation")
    samples = _integer(dataset, "SamplesPerPixel", 1)
    if photometric != "MONOCHROME2" or samples != 1:
        raise DicomError(
            Reason.PHOTOMETRIC,
            f"PhotometricInterpretation is {photometric or 'missing'} with {samples} samples a "
            "pixel; expected MONOCHROME2 with 1.",
        )
    if "LOCALIZER" in _text(dataset, "ImageType").upper().split("\\"):
        raise DicomError(Reason.LOCALIZER, "ImageType says LOCALIZER; expected an axial slice.")
    frames = _integer(dataset, "NumberOfFrames", 1)
    if frames != 1:
        raise DicomError(Reason.MULTI_FRAME, f"NumberOfFrames is {frames}; expected 1.")
    rows, columns = _integer(dataset, "Rows"), _integer(dataset, "Columns")
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE):
        raise DicomError(
            Reason.TOO_LARGE, f"{rows} x {columns} pixels; expected 1 to {MAX_SIDE} a side."
        )
    position = _geometry(dataset, "ImagePositionPatient", 3)
    orientation = _geometry(dataset, "ImageOrientationPatient", 6)
    spacing = _geometry(dataset, "PixelSpacing", 2)
    if min(spacing) <= 0:
        raise DicomError(Reason.BAD_GEOMETRY, f"PixelSpacing is {spacing} mm; expected positive.")
    row, column = np.reshape(orientation, (2, 3))
    deviations = (row @ row - 1, column @ column - 1, row @ column)
    # Headers are rounded to six digits or so; 1e-2 rejects only what is no pair of axes.
    if max(abs(float(deviation)) for deviation in deviations) > 1e-2:
        raise DicomError(
            Reason.BAD_GEOMETRY,
            f"ImageOrientationPatient is {orientation}; expected two perpendicular unit vectors.",
        )
    header = Header(
        image_id=_identifier(dataset, "SOPInstanceUID"),
        patient_id=_identifier(dataset, "PatientID"),
        study_id=_identifier(dataset, "StudyInstanceUID"),
        series_id=_identifier(dataset, "SeriesInstanceUID"),
        rows=rows,
        columns=columns,
        position_mm=(position[0], position[1], position[2]),
        orientation=tuple(orientation),  # type: ignore[arg-type]
        spacing_mm=(spacing[0], spacing[1]),
    )
    if abs(header.normal[2]) < _MIN_AXIAL_COSINE:
        raise DicomError(
            Reason.NOT_AXIAL,
            f"the slice normal is {np.round(header.normal, 2).tolist()}; expected one near the "
            "body axis (0, 0, 1).",
        )
    return header


def _rescale(dataset: FileDataset) -> tuple[float, float]:
    """Slope and intercept to HU; both are required of CT (PS3.3 C.8.2.1)."""
    values = []
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        numbers = _numbers(dataset, keyword, Reason.BAD_RESCALE)
        if len(numbers) != 1 or not math.isfinite(numbers[0]):
            raise DicomError(
                Reason.BAD_RESCALE, f"{keyword} is {numbers or 'missing'}; expected one number."
            )
        values.append(numbers[0])
    slope, intercept = values
    if not 0 < slope <= _MAX_SLOPE or abs(intercept) > _MAX_INTERCEPT:
        raise DicomError(
            Reason.BAD_RESCALE,
            f"slope {slope:g} and intercept {intercept:g} give no Hounsfield units; expected a "
            f"slope in (0, {_MAX_SLOPE:g}] and an intercept within {_MAX_INTERCEPT:g}.",
        )
    return slope, intercept


def _stored_values(dataset: FileDataset, header: Header) -> tuple[np.ndarray, int, bool]:
    """The pixels as stored: integers [rows, columns], their bits, whether they are signed."""
    allocated = _integer(dataset, "BitsAllocated")
    bits_stored = _integer(dataset, "BitsStored")
    signed = _integer(dataset, "PixelRepresentation") == 1
    if allocated not in (8, 16) or not 0 < bits_stored <= allocated:
        raise DicomError(
            Reason.BAD_HEADER,
            f"BitsAllocated {allocated}, BitsStored {bits_stored}; expected 8 or 16, and no more "
            "stored than allocated.",
        )
    syntax = UID(_text(dataset.file_meta, "TransferSyntaxUID"))
    if not syntax.is_transfer_syntax:
        raise DicomError(
            Reason.BAD_HEADER,
            f"TransferSyntaxUID is {str(syntax)[:64] or 'missing'}; expected a transfer syntax.",
        )
    if _PIXEL_DATA not in dataset:
        raise DicomError(Reason.NO_PIXELS, "PixelData is missing.")
    kind = f"{'i' if signed else 'u'}{allocated // 8}"
    if syntax.is_compressed and not syntax.is_deflated:
        stored = _decode(dataset, header, syntax).astype(kind, copy=False)
    else:
        raw = dataset.get_item(_PIXEL_DATA).value
        expected = header.rows * header.columns * allocated // 8
        if raw is None or len(raw) < expected:
            raise DicomError(
                Reason.TRUNCATED_PIXELS,
                f"PixelData has {len(raw or b'')} bytes; {header.rows} x {header.columns} pixels "
                f"of {allocated} bits need {expected}.",
            )
        order = "<" if syntax.is_little_endian else ">"
        stored = np.frombuffer(raw, order + kind, count=header.rows * header.columns)
        stored = stored.reshape(header.rows, header.columns)
    if bits_stored < allocated:
        # Bits above BitsStored may hold anything (PS3.5 8.1.1): shift them out and extend the sign.
        shift = allocated - bits_stored
        stored = np.right_shift(np.left_shift(stored, shift), shift)
    return stored, bits_stored, signed


def _decode(dataset: FileDataset, header: Header, syntax: UID) -> np.ndarray:
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise DicomError(Reason.NO_DECODER, f"no decoder reads {syntax.name}.") from error
    if not decoder.is_available:
        raise DicomError(
            Reason.NO_DECODER,
            f"no installed decoder reads {syntax.name}; install the extra `codecs`.",
        )
    try:
        pixels, _ = decoder.as_array(dataset, raw=True)
    except _PARSE_ERRORS as error:
        raise DicomError(
            Reason.DECODE_FAILED, f"{syntax.name}: {type(error).__name__}: {error}"
        ) from error
    if pixels.shape != (header.rows, header.columns):
        raise DicomError(
            Reason.DECODE_FAILED,
            f"decoded to {pixels.shape}; the header says {(header.rows, header.columns)}.",
        )
    return np.asarray(pixels)


def _geometry(dataset: FileDataset, keyword: str, count: int) -> list[float]:
    numbers = _numbers(dataset, keyword, Reason.BAD_GEOMETRY)
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise DicomError(
            Reason.BAD_GEOMETRY, f"{keyword} is {numbers or 'missing'}; expected {count} numbers."
        )
    return numbers


def _numbers(dataset: FileDataset, keyword: str, reason: Reason) -> list[float]:
    """The values of a decimal string (DS); an empty list where there is none."""
    text = _text(dataset, keyword)
    try:
        return [float(part) for part in text.split("\\")] if text else []
    except ValueError as error:
        raise DicomError(reason, f"{keyword} is {text[:40]!r}; expected numbers.") from error


def _identifier(dataset: FileDataset, keyword: str) -> str:
    text = _text(dataset, keyword)
    if not text:
        raise DicomError(Reason.BAD_HEADER, f"{keyword} is missing or empty.")
    return text


def _integer(dataset: FileDataset, keyword: str, default: int | None = None) -> int:
    """An unsigned short (US) or integer string (IS)."""
    element = _element(dataset, Tag(keyword))
    value: Any = None if element is None else element.value
    if isinstance(value, bytes):
        if len(value) == 2 and keyword != "NumberOfFrames":  # US; NumberOfFrames is an IS
            little = not isinstance(element, RawDataElement) or element.is_little_endian
            return int.from_bytes(value, "little" if little else "big")
        value = value.decode("ascii", "replace").strip(" \0")
    if value is None or value == "":
        if default is not None:
            return default
        raise DicomError(Reason.BAD_HEADER, f"{keyword} is missing.")
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise DicomError(
            Reason.BAD_HEADER, f"{keyword} is {str(value)[:40]!r}; expected an integer."
        ) from error


def _text(dataset: Dataset, keyword: str) -> str:
    element = _element(dataset, Tag(keyword))
    value: Any = None if element is None else element.value
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0")
    if isinstance(value, str):
        return value.strip(" \0")
    try:
        return "\\".join(str(part) for part in value)
    except TypeError:
        return str(value)


def _element(dataset: Dataset, tag: BaseTag) -> Any:
    return dataset.get_item(tag) if tag in dataset else None
