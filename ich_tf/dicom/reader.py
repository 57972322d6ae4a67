"""One DICOM file -> its axial CT slices in Hounsfield units, or the reason why it has none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from ich_tf.dicom.elements import AnyDataset
from ich_tf.dicom.header import Header, make_header, scanner_maker
from ich_tf.dicom.parser import frames, parse, parse_header
from ich_tf.dicom.pixels import hounsfield_units
from ich_tf.dicom.reasons import DicomError, Reason, Repair


@dataclass(frozen=True, eq=False)
class Slice:
    """One CT slice.

    Attributes:
      header: Identifiers and geometry.
      hu: Hounsfield units, float32 [rows, columns].
      repairs: Repairs that were applied to the pixels.
      decoder: Library, version and codec that decoded the pixels; empty if uncompressed.
      scanner: Maker of the scanner, one of `SCANNERS`, `other` or `unknown`.
    """

    header: Header
    hu: np.ndarray
    repairs: tuple[Repair, ...]
    decoder: str = ""
    scanner: str = "unknown"


def read_headers(file: BinaryIO) -> list[Header]:
    """Reads the headers of a file's slices, without the pixels.

    Args:
      file: Seekable binary file, positioned at its start.

    Returns:
      One header; for an enhanced multi-frame file, one for each frame.

    Raises:
      DicomError: If the file holds no axial CT slice with a valid geometry.

    Examples:
      >>> import io
      >>> try:
      ...     read_headers(io.BytesIO(b""))
      ... except DicomError as error:
      ...     print(error.reason.value, error)
      NOT_DICOM is empty; expected a DICOM file.
    """
    return [make_header(dataset, frame) for frame, dataset in frames(parse_header(file))]


def read_slice(data: bytes, frame: int = 0) -> Slice:
    """Reads one slice of a DICOM file into Hounsfield units.

    Args:
      data: Content of the file.
      frame: Number of the frame in an enhanced multi-frame file, from 1; 0 for a file of one
        slice.

    Raises:
      DicomError: If it is no axial CT slice, or its pixels cannot be read whole.

    Examples:
      >>> try:
      ...     read_slice(b"no DICOM file")
      ... except DicomError as error:
      ...     print(error.reason.value)
      NOT_DICOM
    """
    for number, dataset in frames(parse(data), frame):
        return _read(dataset, number)
    raise DicomError(Reason.BAD_HEADER, f"has no frame {frame}.")


def read_slices(data: bytes) -> Iterator[Slice]:
    """Reads every slice of a DICOM file: a single one, or the frames of an enhanced file.

    Args:
      data: Content of the file.

    Raises:
      DicomError: If a slice is no axial CT slice, or its pixels cannot be read whole.
    """
    for frame, dataset in frames(parse(data)):
        yield _read(dataset, frame)


def _read(dataset: AnyDataset, frame: int) -> Slice:
    header = make_header(dataset, frame)
    hu, repairs, decoder = hounsfield_units(dataset, header)
    return Slice(header, hu, repairs, decoder, scanner_maker(dataset))
