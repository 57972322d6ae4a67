"""Values of data elements, read from their raw bytes and checked.

pydicom's own conversion is not used: it accepts a rescale slope of nan, and warns of RSNA's UIDs
(`ID_...`), which are not valid UIDs. Messages quote numbers and terms of the standard only: they
are stored in quarantine files, and an element may hold a name where none belongs.
"""

from __future__ import annotations

import functools
import struct
import zlib
from typing import Any, Literal

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag, Tag

from ich_tf.dicom.fast_parser import PlainDataset
from ich_tf.dicom.reasons import DicomError, Reason

# A file as either of the two parsers returns it.
AnyDataset = FileDataset | PlainDataset

# Exceptions that pydicom raises on broken files, seen on real ones. It raises OSError as well.
PARSE_ERRORS = (
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


@functools.cache
def tag_of(keyword: str) -> int:
    """The tag of a keyword, group * 65536 + element."""
    # Cached: pydicom's dictionary takes longer than reading the element.
    return int(Tag(keyword))


def element(dataset: Dataset | PlainDataset | None, tag: int) -> Any:
    """A data element with its raw value; None if the dataset lacks it.

    Raises:
      DicomError: BAD_HEADER, if the element cannot be parsed.
    """
    try:
        if dataset is None or isinstance(dataset, PlainDataset):
            return None if dataset is None else dataset.get(tag)
        return dataset.get_item(tag) if BaseTag(tag) in dataset else None
    # An unknown value representation, or a sequence cut off.
    except (OSError, *PARSE_ERRORS) as error:
        raise DicomError(
            Reason.BAD_HEADER, f"{BaseTag(tag)} cannot be read ({type(error).__name__})."
        ) from error


def byte_order(data_element: Any) -> Literal["little", "big"]:
    """The byte order of an element's raw value: `little` or `big`."""
    # Only pydicom reads big endian, into raw elements; both parsers' other values are little.
    little = not isinstance(data_element, RawDataElement) or data_element.is_little_endian
    return "little" if little else "big"


def text(dataset: Dataset | PlainDataset | None, keyword: str) -> str:
    """The value of an element as text, several values joined by a backslash.

    Returns:
      The text without padding; an empty string if there is no element or no value.
    """
    data_element = element(dataset, tag_of(keyword))
    value: Any = None if data_element is None else data_element.value
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


def identifier(dataset: AnyDataset, keyword: str) -> str:
    """The text of an element that must not be empty.

    Raises:
      DicomError: BAD_HEADER, if it is missing or empty.
    """
    value = text(dataset, keyword)
    if not value:
        raise DicomError(Reason.BAD_HEADER, f"{keyword} is missing or empty.")
    return value


def integer(dataset: AnyDataset, keyword: str, default: int | None = None) -> int:
    """The value of an unsigned short (US) or an integer string (IS).

    Args:
      dataset: The file.
      keyword: Keyword of the element.
      default: Value to return if the element is missing or empty; None to raise then.

    Raises:
      DicomError: BAD_HEADER.
    """
    data_element = element(dataset, tag_of(keyword))
    value: Any = None if data_element is None else data_element.value
    if isinstance(value, bytes):
        if len(value) == 2 and keyword != "NumberOfFrames":  # US; NumberOfFrames is an IS
            return int.from_bytes(value, byte_order(data_element))
        value = value.decode("ascii", "replace").strip(" \0")
    if value is None or value == "":
        if default is not None:
            return default
        raise DicomError(Reason.BAD_HEADER, f"{keyword} is missing.")
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise DicomError(Reason.BAD_HEADER, f"{keyword} holds no integer.") from error


def numbers(dataset: AnyDataset, keyword: str, reason: Reason) -> list[float]:
    """The values of a decimal string (DS); an empty list if there is none.

    Args:
      dataset: The file.
      keyword: Keyword of the element.
      reason: Reason of the error if a value is not a number.

    Raises:
      DicomError: `reason`.
    """
    values = text(dataset, keyword)
    try:
        return [float(part) for part in values.split("\\")] if values else []
    except ValueError as error:
        raise DicomError(reason, f"{keyword} holds no numbers.") from error


def quoted(value: str, terms: frozenset[str]) -> str:
    """A value as a message may quote it: a term of the standard, never free text.

    Args:
      value: The value of an element.
      terms: The terms of the standard for that element.
    """
    if not value:
        return "missing"
    return value if value in terms else "no term of the standard"
