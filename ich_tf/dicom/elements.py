"""Values of data elements, read from their raw bytes and checked.

pydicom's own conversion is not used: it accepts a rescale slope of nan, and warns of RSNA's UIDs
(`ID_...`), which are not valid UIDs. Messages quote numbers and terms of the standard only: they
are stored in quarantine files, and an element may hold a name where none belongs.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from pydicom import charset, config
from pydicom.tag import Tag
from pydicom.uid import UID

from ich_tf.dicom.data_set import DataSet
from ich_tf.dicom.reasons import DicomError, Reason

# A number as PS3.5 6.2 has it; Python would also read nan, infinity and 1_000.
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d{1,12}")
# UIDs and ids have 64 characters (PS3.5 6.2), in 4 bytes each at most.
_MAX_IDENTIFIER = 256
# A decimal has 16 characters, and no element that is read has more than 6.
_MAX_NUMBERS = 1024
# What ends a character set that an escape has begun (PS3.5 6.1.2.5.3).
_DELIMITERS = {9, 10, 12, 13}


@functools.cache
def tag_of(keyword: str) -> int:
    """The tag of a keyword, group * 65536 + element."""
    # Cached: pydicom's dictionary takes longer than reading the element.
    return int(Tag(keyword))


def uid(value: str) -> UID:
    """A UID, whatever its text is: pydicom would warn of what is none, and quote it."""
    return UID(value, config.IGNORE)


def text(dataset: DataSet, keyword: str) -> str:
    """The value of an element as text, several values joined by a backslash.

    Returns:
      The text without padding; an empty string if there is no element or no value.
    """
    element = dataset.get(tag_of(keyword))
    return "" if element is None else bytes(element.value).decode("latin-1").strip(" \0")


def patient_id(dataset: DataSet) -> str:
    """The PatientID as its letters are, whatever character set they are written in.

    One patient's files may come in several, as before and after an archive was replaced.

    Raises:
      DicomError: BAD_HEADER, if it is longer than any id.
    """
    value = bounded(dataset, "PatientID")
    if value.isascii() and "\x1b" not in value:
        return value
    letters = in_character_set(value.encode("latin-1"), text(dataset, "SpecificCharacterSet"))
    return unicodedata.normalize("NFC", letters).strip(" \0")


def in_character_set(value: bytes, character_set: str) -> str:
    """Decodes a text.

    Args:
      value: The bytes.
      character_set: Value of SpecificCharacterSet.

    Returns:
      The text; one letter a byte where the set is unknown, or the bytes are none of it.
    """
    # pydicom warns of what it does not know, and takes the first set then.
    names = [name.strip() for name in character_set.split("\\")]
    if not all(name in charset.python_encoding for name in names):
        return value.decode("latin-1")
    encodings = [charset.python_encoding[name] for name in names]
    try:
        if b"\x1b" in value:
            return charset.decode_bytes(value, encodings, _DELIMITERS)
        return value.decode(encodings[0])
    except (LookupError, UnicodeError):
        return value.decode("latin-1")


def identifier(dataset: DataSet, keyword: str) -> str:
    """The text of an element that must not be empty.

    It names files, and stands in logs and tables: what no line of text holds is refused, such as
    ends of lines, bytes of zero and the escapes of terminals. Letters are taken: RSNA's UIDs are
    `ID_...`.

    Raises:
      DicomError: BAD_HEADER, if it is missing or empty, longer than any id, or not printable.
    """
    value = bounded(dataset, keyword)
    if not value:
        raise DicomError(Reason.BAD_HEADER, f"{keyword} is missing or empty.")
    if not value.isprintable():
        raise DicomError(
            Reason.BAD_HEADER, f"{keyword} holds characters that cannot be printed; expected a UID."
        )
    return value


def bounded(dataset: DataSet, keyword: str) -> str:
    """The text of an element that is no longer than an id; empty if there is none.

    Raises:
      DicomError: BAD_HEADER, if it is longer.
    """
    value = text(dataset, keyword)
    if len(value) > _MAX_IDENTIFIER:
        raise DicomError(
            Reason.BAD_HEADER,
            f"{keyword} has {len(value)} bytes; expected {_MAX_IDENTIFIER} at most.",
        )
    return value


def integer(dataset: DataSet, keyword: str, default: int | None = None) -> int:
    """The value of an unsigned short (US) or an integer string (IS).

    Args:
      dataset: The file.
      keyword: Keyword of the element.
      default: Value to return if the element is missing or empty; None to raise then.

    Raises:
      DicomError: BAD_HEADER.
    """
    element = dataset.get(tag_of(keyword))
    if element is not None and len(element.value) == 2 and keyword != "NumberOfFrames":  # an IS
        return int.from_bytes(element.value, "big" if dataset.big else "little")
    value = text(dataset, keyword)
    if not value:
        if default is not None:
            return default
        raise DicomError(Reason.BAD_HEADER, f"{keyword} is missing.")
    if not _INTEGER.fullmatch(value.strip()):
        raise DicomError(Reason.BAD_HEADER, f"{keyword} holds no integer.")
    return int(value)


def numbers(dataset: DataSet, keyword: str, reason: Reason) -> list[float]:
    """The values of a decimal string (DS); an empty list if there is none.

    Args:
      dataset: The file.
      keyword: Keyword of the element.
      reason: Reason of the error if a value is not a number.

    Raises:
      DicomError: `reason`.
    """
    values = text(dataset, keyword)
    parts = [part.strip(" \0") for part in values.split("\\")] if values else []
    if len(values) > _MAX_NUMBERS or not all(map(_DECIMAL.fullmatch, parts)):
        raise DicomError(reason, f"{keyword} holds no numbers.")
    return [float(part) for part in parts]


def quoted(value: str, terms: frozenset[str]) -> str:
    """A value as a message may quote it: a term of the standard, never free text.

    Args:
      value: The value of an element.
      terms: The terms of the standard for that element.
    """
    if not value:
        return "missing"
    return value if value in terms else "no term of the standard"
