"""The header of an axial CT slice: identifiers and geometry, validated.

Clauses are those of DICOM PS3.3 (information objects), 2024.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass, fields

import numpy as np

from ich_tf.dicom.data_set import DataSet
from ich_tf.dicom.description import describe_slice
from ich_tf.dicom.elements import identifier, integer, numbers, patient_id, quoted, text
from ich_tf.dicom.quantity import check_quantity, rescale
from ich_tf.dicom.reasons import DicomError, Reason

# Makers that `scanner_maker` returns; no free text of a file reaches a record.
SCANNERS = (
    "GE", "Siemens", "Philips", "Canon", "Toshiba", "Hitachi", "Fujifilm", "Neusoft",
    "NeuroLogica", "Samsung", "United Imaging", "Shimadzu", "Marconi", "Picker",
)  # fmt: skip
MAX_SIDE = 4096
# The cosine of the angle between slice normal and body axis. Gantries tilt by 30 degrees at
# most (cosine 0.87); scouts are at 90.
MIN_AXIAL_COSINE = 0.7
# Tables move by two metres, and some scanners count from the floor or from another room: a position
# beyond 100 m is none, and float32 would round it by more than a pixel.
MAX_POSITION_MM = 1e5
# Micro-CT resolves 0.01 mm; a head has no pixel of 100 mm.
MIN_SPACING_MM, MAX_SPACING_MM = 0.01, 100.0
# Headers are rounded to six digits or so; 1e-2 rejects only what is no pair of axes.
MAX_AXES_DEVIATION = 1e-2

# CT image storage, enhanced or not (PS3.4 B.5).
_CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
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


@dataclass(frozen=True, slots=True)
class Header:
    """Identifiers and geometry of a CT slice.

    Attributes:
      image_id: SOP instance UID; `<UID>/<frame>` for a frame of a multi-frame file.
      patient_id: PatientID, in the file's character set; empty if it has none.
      study_id: Study instance UID as in the file.
      series_id: Series instance UID as in the file.
      rows: Number of rows, pixels.
      columns: Number of columns, pixels.
      position_mm: Centre of the first pixel, patient coordinates (PS3.3 C.7.6.2.1.1).
      orientation: Unit vectors along a row and along a column, patient coordinates.
      spacing_mm: Distance between rows, and between columns.
      frame: Number of the frame in an enhanced multi-frame file, from 1; 0 in a file of one slice.
      transfer_syntax: UID of the pixels' encoding.
      kernel: Class of the reconstruction kernel, one of `kernels.KERNELS`.
      thickness_mm: Thickness of the slice; 0 if unknown.
      contrast: Whether contrast agent was given, one of `description.CONTRASTS`.
      origin: Whether a scan or a computation made it, one of `description.ORIGINS`.
      content: What it shows, one of `description.CONTENTS`.
      series_number: SeriesNumber; -1 if unknown.
      acquisition: AcquisitionNumber; -1 if unknown.
      instance: InstanceNumber, or the frame's number; -1 if unknown.
      time_s: Time of the acquisition, seconds since midnight; -1 if unknown.
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
    kernel: str = "unknown"
    thickness_mm: float = 0.0
    contrast: str = "unknown"
    origin: str = "unknown"
    content: str = "unknown"
    series_number: int = -1
    acquisition: int = -1
    instance: int = -1
    time_s: float = -1.0

    def digest(self) -> str:
        """Hash of all values but the encoding of the pixels, 16 hexadecimal digits."""
        values = repr([getattr(self, name) for name in _HASHED])
        return hashlib.sha256(values.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def normal(self) -> np.ndarray:
        """Unit normal of the slice, float64 [3]; towards the head for a supine axial slice."""
        # By hand: np.cross takes 40 us, and every file needs its normal.
        a, b, c, d, e, f = self.orientation
        x, y, z = b * f - c * e, c * d - a * f, a * e - b * d
        length = math.sqrt(x * x + y * y + z * z)
        return np.array((x / length, y / length, z / length))

    @property
    def gantry_tilt_deg(self) -> float:
        """Angle between column and horizontal, degrees.

        From the orientation: makers give GantryDetectorTilt opposite signs.
        """
        return math.degrees(math.asin(max(-1.0, min(1.0, self.orientation[5]))))


# Equal pixels may be compressed in different ways.
_HASHED = tuple(field.name for field in fields(Header) if field.name != "transfer_syntax")


def make_header(dataset: DataSet, frame: int) -> Header:
    """Reads and checks the header of one slice.

    Args:
      dataset: The file, or one of its frames as `frames.Frames` returns it.
      frame: Number of the frame, from 1; 0 in a file of one slice.

    Raises:
      DicomError: If it is no axial CT slice with a valid geometry.
    """
    _check_kind(dataset)
    rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE):
        raise DicomError(
            Reason.TOO_LARGE, f"{rows} x {columns} pixels; expected 1 to {MAX_SIDE} a side."
        )
    position = _geometry(dataset, "ImagePositionPatient", 3, -MAX_POSITION_MM, MAX_POSITION_MM)
    orientation = _geometry(dataset, "ImageOrientationPatient", 6, -2.0, 2.0)
    spacing = _geometry(dataset, "PixelSpacing", 2, MIN_SPACING_MM, MAX_SPACING_MM)
    a, b, c, d, e, f = orientation
    deviations = (a * a + b * b + c * c - 1, d * d + e * e + f * f - 1, a * d + b * e + c * f)
    if max(map(abs, deviations)) > MAX_AXES_DEVIATION:
        raise DicomError(
            Reason.BAD_GEOMETRY,
            f"ImageOrientationPatient is {orientation}; expected two perpendicular unit vectors.",
        )
    header = Header(
        image_id=identifier(dataset, "SOPInstanceUID") + (f"/{frame}" if frame else ""),
        patient_id=patient_id(dataset),
        study_id=identifier(dataset, "StudyInstanceUID"),
        series_id=identifier(dataset, "SeriesInstanceUID"),
        rows=rows,
        columns=columns,
        position_mm=(position[0], position[1], position[2]),
        orientation=tuple(orientation),  # type: ignore[arg-type]
        spacing_mm=(spacing[0], spacing[1]),
        frame=frame,
        transfer_syntax=dataset.syntax,
        **describe_slice(dataset, scanner_maker(dataset), frame),
    )
    normal = header.normal
    if abs(normal[2]) < MIN_AXIAL_COSINE:
        raise DicomError(
            Reason.NOT_AXIAL,
            f"the slice normal is {np.round(normal, 2).tolist()}; expected one near the body axis "
            "(0, 0, 1).",
        )
    rescale(dataset)  # so that a plan holds no slice whose units are known to be wrong
    return header


def scanner_maker(dataset: DataSet) -> str:
    """The scanner's maker: one of `SCANNERS`, `other`, or `unknown` if the file names none."""
    return _maker(text(dataset, "Manufacturer").lower())


@functools.lru_cache(256)
def _maker(manufacturer: str) -> str:
    # "ge" is part of other words.
    words = manufacturer.replace("_", " ").split()
    for maker in SCANNERS:
        name = maker.lower()
        if name in words or (len(name) > 2 and name in manufacturer):
            return maker
    return "other" if manufacturer else "unknown"


def _check_kind(dataset: DataSet) -> None:
    """Raises the reason why a file is no CT slice in grey values."""
    modality = text(dataset, "Modality")
    is_ct = text(dataset, "SOPClassUID").startswith(_CT_STORAGE)
    if not modality and is_ct and dataset.pixel_data is None:
        raise DicomError(Reason.BAD_HEADER, "ends before its Modality: the file is cut.")
    if modality != "CT":
        raise DicomError(
            Reason.NOT_CT, f"Modality is {quoted(modality, _MODALITIES)}; expected CT."
        )
    photometric = text(dataset, "PhotometricInterpretation")
    samples = integer(dataset, "SamplesPerPixel", 1)
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or samples != 1:
        raise DicomError(
            Reason.PHOTOMETRIC,
            f"PhotometricInterpretation is {quoted(photometric, _PHOTOMETRIC)} with {samples} "
            "samples a pixel; expected MONOCHROME2 with 1.",
        )
    if text(dataset, "BurnedInAnnotation").upper() == "YES":
        raise DicomError(
            Reason.BURNED_IN, "BurnedInAnnotation is YES: its pixels may show who the patient is."
        )
    kinds = f"{text(dataset, 'ImageType')}\\{text(dataset, 'FrameType')}".upper().split("\\")
    if "LOCALIZER" in kinds:
        raise DicomError(Reason.LOCALIZER, "ImageType is LOCALIZER; expected an axial slice.")
    check_quantity(dataset)


def _geometry(dataset: DataSet, keyword: str, count: int, low: float, high: float) -> list[float]:
    values = numbers(dataset, keyword, Reason.BAD_GEOMETRY)
    # Comparisons that a nan fails, too.
    if len(values) != count or not all(low <= value <= high for value in values):
        raise DicomError(
            Reason.BAD_GEOMETRY,
            f"{keyword} is {values[:6] or 'missing'}; expected {count} numbers in "
            f"[{low:g}, {high:g}].",
        )
    return values
