"""One DICOM file -> one axial CT slice in Hounsfield units, or a reason why not.

Values are read from the raw data elements and validated here: pydicom's own conversion
accepts a rescale slope of nan and warns of RSNA's UIDs (`ID_...`), which are no valid UIDs.
Messages quote numbers and terms of the standard only: they are stored in quarantine files, and a
tag may hold a name where it should not.
Clauses cite DICOM PS3.3 (information objects) and PS3.5 (encoding), 2024.
"""

from __future__ import annotations

import copy
import functools
import io
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from ich_tf.dicom import decoders
from ich_tf.dicom.fast_parser import PIXEL_DATA, PlainDataset, read_plain
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

AIR_HU = -1000.0
SCANNERS = (
    "GE", "Siemens", "Philips", "Canon", "Toshiba", "Hitachi", "Fujifilm", "Neusoft",
    "NeuroLogica", "Samsung", "United Imaging", "Shimadzu", "Marconi", "Picker",
)  # fmt: skip
MAX_SIDE = 4096
# Enhanced CT holds a series in a file; the longest head CT has some hundred slices.
MAX_FRAMES = 2000
# What a deflated file may grow to: a few kilobytes can claim gigabytes.
MAX_INFLATED_BYTES = 192 * 2**20
# Within so many bytes the meta information ends.
_META_BYTES = 4096
# RSNA's 16-bit files reach -1024, GE pads with -1500 to -3024: beyond this it is no intercept.
_MAX_INTERCEPT = 10_000.0
_MAX_SLOPE = 100.0
# The cosine of the angle between slice normal and body axis. Gantries tilt by 30 degrees at
# most (cosine 0.87); scouts are at 90.
_MIN_AXIAL_COSINE = 0.7


@dataclass(frozen=True, slots=True)
class Header:
    """What a CT slice's header says of its place.

    Attributes:
      image_id: SOP instance UID; of a frame `<UID>/<frame>`.
      patient_id, study_id, series_id: As in the file; `series_id` is the series' UID.
      rows, columns: Pixels.
      position_mm: Centre of the first pixel, patient coordinates (PS3.3 C.7.6.2.1.1).
      orientation: Unit vectors along a row and along a column, patient coordinates.
      spacing_mm: Between rows, between columns.
      frame: Of an enhanced multi-frame file, from 1; 0 in a file of one slice.
      transfer_syntax: UID of the pixels' encoding.
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
    frame: int = 0
    transfer_syntax: str = ""

    @property
    def normal(self) -> np.ndarray:
        """The slice's unit normal, float64 [3]; towards the head for a supine axial slice."""
        # By hand: np.cross takes 40 us, and this is asked of every file.
        a, b, c, d, e, f = self.orientation
        normal = np.array([b * f - c * e, c * d - a * f, a * e - b * d])
        return np.asarray(normal / math.sqrt(normal @ normal))

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
      decoder: What decoded its pixels; empty where they were not compressed.
      scanner: Its maker, one of `SCANNERS`, `other` or `unknown`: no free text leaves a file.
    """

    header: Header
    hu: np.ndarray
    repairs: tuple[Repair, ...]
    decoder: str = ""
    scanner: str = "unknown"


# Terms that messages may quote (PS3.3 C.7.3.1.1.1 and C.7.6.3.1.2).
_MODALITIES = frozenset((
    "CR", "DX", "ES", "IO", "IVUS", "KO", "MG", "MR", "NM", "OCT", "OP", "OT", "PR", "PT", "PX",
    "REG", "RF", "RG", "RTDOSE", "RTIMAGE", "RTPLAN", "RTSTRUCT", "SC", "SEG", "SM", "SR", "US",
    "XA", "XC",
))  # fmt: skip
_PHOTOMETRIC = frozenset((
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422",
    "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT",
))  # fmt: skip
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

# All that is ever read of a file.
_KEYWORDS = (
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
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PixelPaddingValue",
    "RescaleSlope",
    "RescaleIntercept",
    "Manufacturer",
    "BurnedInAnnotation",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
# Where enhanced CT keeps what other files have at the top (PS3.3 C.7.6.16).
_MACROS = {
    "PixelSpacing": "PixelMeasuresSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
_TAGS = frozenset(int(Tag(keyword)) for keyword in _KEYWORDS)
_PER_FRAME = int(Tag("PerFrameFunctionalGroupsSequence"))
# A header of a hundred elements has four kilobytes; a longer one is left to pydicom.
_HEADER_BYTES = 16384
View = FileDataset | PlainDataset


def read_headers(file: BinaryIO) -> list[Header]:
    """Reads where a file's slices are, without their pixels.

    Args:
      file: A seekable binary file at its start.

    Returns:
      One header; of an enhanced multi-frame file one a frame.

    Raises:
      DicomError: If it holds no axial CT slices with a valid geometry.
    """
    start = file.read(_HEADER_BYTES)
    file.seek(0)
    dataset: View | None = read_plain(start, _TAGS, with_pixels=False)
    if dataset is None or _PER_FRAME in dataset:
        dataset = _parse(file, stop_before_pixels=True, specific_tags=list(_TAGS))
    return [_header(view, frame) for frame, view in _frames(dataset)]


def read_slice(data: bytes, frame: int = 0) -> Slice:
    """Reads one slice of a DICOM file into Hounsfield units.

    Args:
      data: The file's bytes.
      frame: As in `Header`.

    Raises:
      DicomError: If it is no axial CT slice, or its pixels cannot be read whole.

    Example:
      >>> try:
      ...     read_slice(b"no DICOM file")
      ... except DicomError as error:
      ...     print(error.reason.value)
      NOT_DICOM
    """
    for found, view in _frames(_read(data), frame):
        return _slice(view, found)
    raise DicomError(Reason.BAD_HEADER, f"has no frame {frame}.")


def read_slices(data: bytes) -> Iterator[Slice]:
    """Reads every slice of a DICOM file: one, or an enhanced file's frames.

    Raises:
      DicomError: As `read_slice`.
    """
    for frame, view in _frames(_read(data)):
        yield _slice(view, frame)


def _read(data: bytes) -> View:
    plain = read_plain(data, _TAGS, with_pixels=True)
    return _parse(io.BytesIO(data)) if plain is None or _PER_FRAME in plain else plain


def _slice(view: View, frame: int) -> Slice:
    header = _header(view, frame)
    slope, intercept = _rescale(view)
    stored, bits_stored, signed, decoder = _stored_values(view, header)
    padding = _padding(view, stored, signed)
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
    if padding is not None and float(hu[0, 0]) > AIR_HU:
        # Below air it is clipped with all else; above, it would shine.
        hu[padding] = AIR_HU
        repairs = (*repairs, Repair.PADDING)
    _check_plausible(hu, _text(view, "PhotometricInterpretation"))
    return Slice(header, hu, repairs, decoder, _scanner(view))


def _scanner(dataset: View) -> str:
    text = _text(dataset, "Manufacturer").lower()
    # "ge" stands within other words.
    words = text.replace("_", " ").split()
    for maker in SCANNERS:
        name = maker.lower()
        if name in words or (len(name) > 2 and name in text):
            return maker
    return "other" if text else "unknown"


def _check_plausible(hu: np.ndarray, photometric: str) -> None:
    low, high = float(hu.min()), float(hu.max())
    if low == high:
        raise DicomError(
            Reason.HU_IMPLAUSIBLE, f"every pixel is {low:g} HU; expected a head or a phantom."
        )
    border = np.concatenate([hu[0], hu[-1], hu[:, 0], hu[:, -1]])
    # Inverted grey is a matter of display (PS3.3 C.7.6.3.1.2) and leaves Hounsfield units alone;
    # but some writers inverted the pixels as well, and then the air around a head is bright.
    if photometric == "MONOCHROME1" and float(np.median(border)) > 0:
        raise DicomError(
            Reason.HU_IMPLAUSIBLE,
            f"PhotometricInterpretation is MONOCHROME1 and the border has {np.median(border):g} "
            "HU; expected air. The pixels are inverted.",
        )


def _padding(dataset: View, stored: np.ndarray, signed: bool) -> np.ndarray | None:
    """Where the padding is that fills what the scanner did not reconstruct, bool [H, W], or None.

    Only where all four corners hold it: a few writers name a value that tissue has too.
    """
    element = _element(dataset, _tag("PixelPaddingValue"))
    if element is None or not element.value:
        return None
    value = element.value
    if isinstance(value, bytes):
        little = not isinstance(element, RawDataElement) or element.is_little_endian
        value = int.from_bytes(value[:2], "little" if little else "big", signed=signed)
    corners = stored[[0, 0, -1, -1], [0, -1, 0, -1]]
    return np.asarray(stored == value) if (corners == value).all() else None


def _parse(file: BinaryIO, **options: Any) -> FileDataset:
    try:
        return pydicom.dcmread(_inflated(file), **options)
    except DicomError:
        raise
    except (OSError, *_PARSE_ERRORS) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not pydicom's
        raise DicomError(
            Reason.NOT_DICOM, f"no DICOM file, or a broken one ({type(error).__name__})."
        ) from error


def _inflated(file: BinaryIO) -> BinaryIO:
    """The file itself; of a deflated one its content, inflated to a size that is bounded."""
    start = file.read(_META_BYTES)
    file.seek(0)
    if not start:
        raise DicomError(Reason.NOT_DICOM, "is empty; expected a DICOM file.")
    deflated = DeflatedExplicitVRLittleEndian.encode()
    if deflated not in start:
        return file
    # The length of the meta information is its first element (PS3.10 7.1).
    end = 144 + int.from_bytes(start[140:144], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    file.seek(end)
    content = inflater.decompress(file.read(), MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise DicomError(
            Reason.TOO_LARGE,
            f"inflates to more than {MAX_INFLATED_BYTES >> 20} MiB; expected one series at most.",
        )
    plain = ExplicitVRLittleEndian.encode().ljust(len(deflated), b"\0")
    return io.BytesIO(start[:end].replace(deflated, plain) + content)


def _frames(dataset: View, wanted: int | None = None) -> Iterator[tuple[int, View]]:
    """(frame, the dataset as if it held that frame alone) of every frame, or of the wanted one.

    A file of one slice is frame 0.
    """
    count = _integer(dataset, "NumberOfFrames", 1)
    if isinstance(dataset, PlainDataset) or _PER_FRAME not in dataset:
        if count != 1:
            raise DicomError(
                Reason.MULTI_FRAME,
                f"NumberOfFrames is {count} without functional groups, which say where each "
                "frame lies; expected 1.",
            )
        if not wanted:
            yield 0, dataset
        return
    if not 1 <= count <= MAX_FRAMES:
        raise DicomError(
            Reason.TOO_LARGE, f"NumberOfFrames is {count}; expected 1 to {MAX_FRAMES}."
        )
    try:
        shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])
        per_frame = list(dataset.PerFrameFunctionalGroupsSequence)
        if len(per_frame) != count:
            raise DicomError(
                Reason.BAD_HEADER,
                f"NumberOfFrames is {count}, but {len(per_frame)} frames are described.",
            )
        for frame, groups in enumerate(per_frame, 1):
            if wanted is not None and frame != wanted:
                continue
            view = copy.copy(dataset)
            for keyword, macro in _MACROS.items():
                for group in (groups, *shared[:1]):
                    items = group.get(macro)
                    if items and keyword in items[0]:
                        view[keyword] = items[0][keyword]
                        break
            yield frame, view
    # pydicom raises OSError too, where a sequence ends too soon.
    except (OSError, *_PARSE_ERRORS) as error:
        raise DicomError(
            Reason.BAD_HEADER,
            f"its functional groups cannot be read ({type(error).__name__}).",
        ) from error


def _header(dataset: View, frame: int) -> Header:
    modality = _text(dataset, "Modality")
    if modality != "CT":
        found = _quoted(modality, _MODALITIES)
        raise DicomError(Reason.NOT_CT, f"Modality is {found}; expected CT.")
    photometric = _text(dataset, "PhotometricInterpretation")
    samples = _integer(dataset, "SamplesPerPixel", 1)
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or samples != 1:
        raise DicomError(
            Reason.PHOTOMETRIC,
            f"PhotometricInterpretation is {_quoted(photometric, _PHOTOMETRIC)} with {samples} "
            "samples a pixel; expected MONOCHROME2 with 1.",
        )
    if _text(dataset, "BurnedInAnnotation").upper() == "YES":
        raise DicomError(
            Reason.BURNED_IN, "BurnedInAnnotation is YES: its pixels may show who the patient is."
        )
    if "LOCALIZER" in _text(dataset, "ImageType").upper().split("\\"):
        raise DicomError(Reason.LOCALIZER, "ImageType says LOCALIZER; expected an axial slice.")
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
    a, b, c, d, e, f = orientation
    deviations = (a * a + b * b + c * c - 1, d * d + e * e + f * f - 1, a * d + b * e + c * f)
    # Headers are rounded to six digits or so; 1e-2 rejects only what is no pair of axes.
    if max(map(abs, deviations)) > 1e-2:
        raise DicomError(
            Reason.BAD_GEOMETRY,
            f"ImageOrientationPatient is {orientation}; expected two perpendicular unit vectors.",
        )
    header = Header(
        image_id=_identifier(dataset, "SOPInstanceUID") + (f"/{frame}" if frame else ""),
        patient_id=_identifier(dataset, "PatientID"),
        study_id=_identifier(dataset, "StudyInstanceUID"),
        series_id=_identifier(dataset, "SeriesInstanceUID"),
        rows=rows,
        columns=columns,
        position_mm=(position[0], position[1], position[2]),
        orientation=tuple(orientation),  # type: ignore[arg-type]
        spacing_mm=(spacing[0], spacing[1]),
        frame=frame,
        transfer_syntax=_text(dataset.file_meta, "TransferSyntaxUID"),
    )
    if abs(header.normal[2]) < _MIN_AXIAL_COSINE:
        raise DicomError(
            Reason.NOT_AXIAL,
            f"the slice normal is {np.round(header.normal, 2).tolist()}; expected one near the "
            "body axis (0, 0, 1).",
        )
    return header


def _rescale(dataset: View) -> tuple[float, float]:
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


def _stored_values(dataset: View, header: Header) -> tuple[np.ndarray, int, bool, str]:
    """The pixels as stored: integers [rows, columns], their bits, whether signed, the decoder."""
    allocated = _integer(dataset, "BitsAllocated")
    bits_stored = _integer(dataset, "BitsStored")
    signed = _integer(dataset, "PixelRepresentation") == 1
    if allocated not in (8, 16) or not 0 < bits_stored <= allocated:
        raise DicomError(
            Reason.BAD_HEADER,
            f"BitsAllocated {allocated}, BitsStored {bits_stored}; expected 8 or 16, and no more "
            "stored than allocated.",
        )
    syntax = UID(header.transfer_syntax)
    if not syntax.is_transfer_syntax:
        raise DicomError(
            Reason.BAD_HEADER,
            f"TransferSyntaxUID is {'unknown' if syntax else 'missing'}; expected that of a "
            "transfer syntax.",
        )
    if PIXEL_DATA not in dataset:
        raise DicomError(Reason.NO_PIXELS, "PixelData is missing.")
    kind = f"{'i' if signed else 'u'}{allocated // 8}"
    frames, index = _integer(dataset, "NumberOfFrames", 1), max(0, header.frame - 1)
    decoder = ""
    if syntax.is_compressed and not syntax.is_deflated:
        assert isinstance(dataset, FileDataset)  # `read_plain` leaves compressed pixels alone
        decoded = decoders.decode(dataset, syntax, header.rows, header.columns, index, frames)
        stored, decoder = decoded.pixels.astype(kind, copy=False), decoded.decoder
    else:
        raw = _element(dataset, PIXEL_DATA).value
        pixels = header.rows * header.columns
        expected = frames * pixels * allocated // 8
        if raw is None or len(raw) < expected:
            raise DicomError(
                Reason.TRUNCATED_PIXELS,
                f"PixelData has {len(raw or b'')} bytes; {frames} x {header.rows} x "
                f"{header.columns} pixels of {allocated} bits need {expected}.",
            )
        if len(raw) - expected > header.columns * allocated // 8:
            # Some writers pad; more than a row means that rows or columns are wrong.
            raise DicomError(
                Reason.BAD_HEADER,
                f"PixelData has {len(raw)} bytes; {frames} x {header.rows} x {header.columns} "
                f"pixels of {allocated} bits need no more than {expected}.",
            )
        order = "<" if syntax.is_little_endian else ">"
        offset = index * pixels * allocated // 8
        stored = np.frombuffer(raw, order + kind, count=pixels, offset=offset)
        stored = stored.reshape(header.rows, header.columns)
    if bits_stored < allocated:
        # Bits above BitsStored may hold anything (PS3.5 8.1.1): shift them out and extend the sign.
        shift = allocated - bits_stored
        stored = np.right_shift(np.left_shift(stored, shift), shift)
    return stored, bits_stored, signed, decoder


def _geometry(dataset: View, keyword: str, count: int) -> list[float]:
    numbers = _numbers(dataset, keyword, Reason.BAD_GEOMETRY)
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise DicomError(
            Reason.BAD_GEOMETRY, f"{keyword} is {numbers or 'missing'}; expected {count} numbers."
        )
    return numbers


def _numbers(dataset: View, keyword: str, reason: Reason) -> list[float]:
    """The values of a decimal string (DS); an empty list where there is none."""
    text = _text(dataset, keyword)
    try:
        return [float(part) for part in text.split("\\")] if text else []
    except ValueError as error:
        raise DicomError(reason, f"{keyword} holds no numbers.") from error


def _quoted(text: str, known: frozenset[str]) -> str:
    """What a message says a tag holds: a term of the standard, never a stranger's text."""
    if not text:
        return "missing"
    return text if text in known else "no term of the standard"


def _identifier(dataset: View, keyword: str) -> str:
    text = _text(dataset, keyword)
    if not text:
        raise DicomError(Reason.BAD_HEADER, f"{keyword} is missing or empty.")
    return text


def _integer(dataset: View, keyword: str, default: int | None = None) -> int:
    """An unsigned short (US) or integer string (IS)."""
    element = _element(dataset, _tag(keyword))
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
        raise DicomError(Reason.BAD_HEADER, f"{keyword} holds no integer.") from error


def _text(dataset: Dataset | PlainDataset | None, keyword: str) -> str:
    element = _element(dataset, _tag(keyword))
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


@functools.cache
def _tag(keyword: str) -> int:
    # Looked up once: pydicom's dictionary takes longer than reading the element.
    return int(Tag(keyword))


def _element(dataset: Dataset | PlainDataset | None, tag: int) -> Any:
    """The element as it stands in the file; None where there is none."""
    try:
        if dataset is None or isinstance(dataset, PlainDataset):
            return None if dataset is None else dataset.get(tag)
        return dataset.get_item(tag) if BaseTag(tag) in dataset else None
    # An unknown value representation, or a sequence cut off.
    except (OSError, *_PARSE_ERRORS) as error:
        raise DicomError(
            Reason.BAD_HEADER, f"{BaseTag(tag)} cannot be read ({type(error).__name__})."
        ) from error
