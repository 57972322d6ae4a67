"""DICOM files of masks, opened by pydicom: their sequences are many, and lie deep.

What is compressed as a whole is inflated before, within bounds: to pydicom, a few kilobytes may be
gigabytes.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ich_tf.dicom.content import Content
from ich_tf.dicom.encoding import EXPLICIT, find_data_set, inflate
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.masks.errors import MaskError, MaskReason

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Of 2,000 frames of 512 x 512 with a byte a pixel, and their descriptions.
_MAX_FILE_BYTES = 640 * 2**20


@contextmanager
def opened(path: str | Path, *, pixels: bool = False) -> Iterator[Dataset]:
    """A file's data set, whose values are read without warnings.

    Args:
      path: The file.
      pixels: Whether the pixel data is read too.

    Raises:
      MaskError: MASK_FORMAT if it is no DICOM file or too large, MASK_UNREADABLE if it is damaged.
    """
    import pydicom
    from pydicom import config
    from pydicom.uid import UID

    with Path(path).open("rb") as file:
        source, syntax = _inflated(file)
        # pydicom would warn of RSNA's UIDs (`ID_...`), and quote them.
        with config.disable_value_validation():
            dataset = pydicom.dcmread(source, stop_before_pixels=not pixels, force=True)
            if "TransferSyntaxUID" not in dataset.file_meta:
                dataset.file_meta.TransferSyntaxUID = UID(syntax)
            yield dataset


def unread(error: DicomError) -> MaskError:
    """Error of a mask for that of its DICOM file."""
    reason = {
        Reason.NOT_DICOM: MaskReason.MASK_FORMAT,
        Reason.TOO_LARGE: MaskReason.MASK_FORMAT,
    }.get(error.reason, MaskReason.MASK_UNREADABLE)
    return MaskError(reason, str(error))


def _inflated(file: BinaryIO) -> tuple[BinaryIO, str]:
    """A DICOM file as it is, or inflated behind the least meta information; and its syntax."""
    content = Content(file)
    if content.size > _MAX_FILE_BYTES:
        raise MaskError(
            MaskReason.MASK_FORMAT,
            f"has {content.size >> 20} MiB; expected {_MAX_FILE_BYTES >> 20} at most.",
        )
    try:
        head, _ = next(content.heads())
        encoding = find_data_set(head)
        if not encoding.deflated:
            file.seek(0)
            return file, encoding.syntax
        inflated = inflate(content, encoding.at)
    except DicomError as error:
        raise unread(error) from error
    if inflated.is_cut:
        raise MaskError(MaskReason.MASK_UNREADABLE, "is cut: its deflated data set has no end.")
    syntax = EXPLICIT.encode() + b"\0"
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax)) + syntax
    length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta))
    data = inflated.part(0, inflated.size)
    return io.BytesIO(b"".join((bytes(128), b"DICM", length, meta, data))), EXPLICIT


def items(dataset: Any, *keywords: str) -> Iterator[Any]:
    """Items of a sequence within the items of another, and so on; none where one is missing.

    Args:
      dataset: The data set that holds the first sequence.
      keywords: Keywords of the sequences, the outermost first.
    """
    for item in getattr(dataset, keywords[0], None) or ():
        if len(keywords) == 1:
            yield item
        else:
            yield from items(item, *keywords[1:])


def numbers(values: Any, count: int | None = None) -> Sequence[float]:
    """Values of a decimal string; empty if they are not `count`, or one of them is no number."""
    try:
        found = [float(value) for value in (values if values is not None else ())]
    except (TypeError, ValueError):
        return ()
    return found if count is None or len(found) == count else ()


def whole_number(dataset: Any, keyword: str, default: int | None = None) -> int:
    """Value of an element that holds one whole number.

    Args:
      dataset: The data set or item that holds the element.
      keyword: Its keyword.
      default: Value where it is missing or empty; None if it must be there.

    Raises:
      MaskError: MASK_FORMAT.
    """
    with contextlib.suppress(TypeError, ValueError):
        value = dataset.get(keyword)
        if value is None and default is not None:
            return default
        return int(value)
    raise MaskError(
        MaskReason.MASK_FORMAT,
        f"has an element {keyword} that is missing or holds no whole number.",
    )
