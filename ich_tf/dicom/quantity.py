"""Whether the pixels of a CT file are Hounsfield units, and the line that makes them so.

By their modality, maps of iodine, atomic numbers, densities and perfusion are CT as well. What they
hold is said by RescaleType, ImageType (in functional groups FrameType) and by a Modality LUT.
Clauses are those of DICOM PS3.3, 2024.
"""

from __future__ import annotations

import functools
import math
import re

import numpy as np

from ich_tf.dicom.data_set import DataSet, item_elements, items
from ich_tf.dicom.elements import integer, numbers, quoted, tag_of, text
from ich_tf.dicom.reasons import DicomError, Reason

# Unsigned 16 bits around an intercept of -32768 are in use, with any slope to 1.
_MAX_INTERCEPT = 2.0**16
_MAX_SLOPE = 100.0

# PS3.3 C.11.1.1.2. What is not said is Hounsfield units, as of original images; HU_MOD are those
# of a virtual image: another energy, or without a material.
_HOUNSFIELD = ("", "HU", "HU_MOD")
_RESCALE_TYPES = frozenset(("OD", "US", "MGML", "Z_EFF", "ED", "EDW", "PCT"))
# Words of ImageType, from its third value on, that name another quantity: PS3.3 C.8.2.1.1.1
# (multi-energy), C.8.16.1.4 (derived pixel contrast), and what perfusion programs write.
_OTHER_QUANTITIES = (
    "MAT_SPECIFIC", "MAT_FRACTIONAL", "MAT_VALUE_BASED", "EFF_ATOMIC_NUM", "ELECTRON_DENSITY",
    "STD_DEVIATION", "SUBTRACTION", "DIVISION", "QUANTITY",
    "IODINE", "IOD", "Z_EFF", "ZEFF", "RHO", "RHO_Z", "ED", "EDW",
    "CBF", "RCBF", "RELCBF", "CBV", "RCBV", "RELCBV", "MTT", "RMTT", "TTP", "RTTP", "TMAX", "TTD",
    "TTS", "BLOOD_FLOW", "BLOOD_VOLUME", "PERMEABILITY",
)  # fmt: skip
# An original image of a perfusion scan is in Hounsfield units, a derived one is a map.
_MAPS_IF_DERIVED = ("PERFUSION",)
_MODALITY_TABLE, _TABLE_TYPE = tag_of("ModalityLUTSequence"), tag_of("ModalityLUTType")
_TABLE_DESCRIPTOR, _TABLE_DATA = tag_of("LUTDescriptor"), tag_of("LUTData")


def check_quantity(dataset: DataSet) -> None:
    """Raises the reason why pixels are no Hounsfield units.

    Args:
      dataset: The file, or one of its frames.

    Raises:
      DicomError: NOT_HOUNSFIELD.
    """
    kind = text(dataset, "RescaleType").strip().upper()
    if kind not in _HOUNSFIELD:
        raise DicomError(
            Reason.NOT_HOUNSFIELD,
            f"RescaleType is {quoted(kind, _RESCALE_TYPES)}; expected HU.",
        )
    for keyword in ("ImageType", "FrameType"):
        if term := _other_quantity(text(dataset, keyword)):
            raise DicomError(
                Reason.NOT_HOUNSFIELD,
                f"{keyword} has {term}: its pixels are no Hounsfield units.",
            )


def rescale(dataset: DataSet) -> tuple[float, float]:
    """Slope and intercept to Hounsfield units; both are required of CT (PS3.3 C.8.2.1).

    Raises:
      DicomError: BAD_RESCALE, or NOT_HOUNSFIELD if a Modality LUT says something else.
    """
    has_table = _MODALITY_TABLE in dataset and len(dataset.elements[_MODALITY_TABLE].value) > 0
    factors = []
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        values = numbers(dataset, keyword, Reason.BAD_RESCALE)
        if not values and has_table:
            raise DicomError(
                Reason.NOT_HOUNSFIELD,
                f"has a ModalityLUTSequence and no {keyword}; expected Hounsfield units by a line.",
            )
        if len(values) != 1 or not math.isfinite(values[0]):
            raise DicomError(
                Reason.BAD_RESCALE, f"{keyword} is {values or 'missing'}; expected one number."
            )
        factors.append(values[0])
    slope, intercept = factors
    check_line(slope, intercept)
    if has_table and not _table_is_line(dataset, slope, intercept):
        raise DicomError(
            Reason.NOT_HOUNSFIELD,
            "its ModalityLUTSequence is not that of Hounsfield units, or another line than that "
            "of RescaleSlope and RescaleIntercept.",
        )
    return slope, intercept


def check_line(slope: float, intercept: float) -> None:
    """Checks that a line may lead to Hounsfield units.

    Raises:
      DicomError: BAD_RESCALE.
    """
    if not 0 < slope <= _MAX_SLOPE or abs(intercept) > _MAX_INTERCEPT:
        raise DicomError(
            Reason.BAD_RESCALE,
            f"slope {slope:g} and intercept {intercept:g} yield no Hounsfield units; expected a "
            f"slope in (0, {_MAX_SLOPE:g}] and an intercept within {_MAX_INTERCEPT:g}.",
        )


@functools.lru_cache(1024)
def _other_quantity(image_type: str) -> str:
    """The term of an ImageType that names another quantity than Hounsfield units; else empty."""
    values = image_type.upper().split("\\")
    terms: tuple[str, ...] = _OTHER_QUANTITIES
    if values[0].strip() != "ORIGINAL":
        terms = (*terms, *_MAPS_IF_DERIVED)
    for value in values[2:]:
        # Whole words: CT_PERFUSION and IODINE_MAP, not "RED" by its ED.
        words = f"_{re.sub('[^A-Z0-9]+', '_', value)}_"
        for term in terms:
            if f"_{term}_" in words:
                return term
    return ""


def _table_is_line(dataset: DataSet, slope: float, intercept: float) -> bool:
    """Whether a Modality LUT (PS3.3 C.11.1) says HU, and gives what slope and intercept give."""
    sequence, big = dataset.elements[_MODALITY_TABLE].value, dataset.big
    wanted = (_TABLE_TYPE, _TABLE_DESCRIPTOR, _TABLE_DATA)
    try:
        start, end = next(iter(items(sequence, big=big)))
        table = item_elements(sequence, start, end, wanted, big=big)
        words = ">u2" if big else "<u2"
        kind = bytes(table[_TABLE_TYPE].value).strip(b" \0")
        _, first, bits = np.frombuffer(table[_TABLE_DESCRIPTOR].value, words).tolist()
        given = np.frombuffer(table[_TABLE_DATA].value, words)
    except (KeyError, StopIteration, ValueError):
        return False
    if integer(dataset, "PixelRepresentation", 0) == 1 and first >= 2**15:
        first -= 2**16
    line = slope * (first + np.arange(len(given))) + intercept
    # Entries are unsigned: those below 0 have wrapped.
    return kind == b"HU" and bits == 16 and np.array_equal(given, np.round(line) % 2**16)
