"""One DICOM file -> its axial CT slices in Hounsfield units, or the reason why it has none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from ich_tf.dicom.content import Buffer, Content
from ich_tf.dicom.frames import Frames
from ich_tf.dicom.header import Header, make_header, scanner_maker
from ich_tf.dicom.parser import parse
from ich_tf.dicom.pixels import Pixels
from ich_tf.dicom.quantity import check_quantity
from ich_tf.dicom.reasons import DicomError, Repair


@dataclass(frozen=True, eq=False)
class Slice:
    """One CT slice.

    Attributes:
      header: Identifiers and geometry.
      hu: Hounsfield units, float32 [rows, columns].
      repairs: Repairs that were applied to the file and its pixels.
      decoder: Library, version and codec that decoded the pixels; empty if uncompressed.
      scanner: Maker of the scanner, one of `SCANNERS`, `other` or `unknown`.
    """

    header: Header
    hu: np.ndarray
    repairs: tuple[Repair, ...]
    decoder: str = ""
    scanner: str = "unknown"


class DicomFile:
    """A DICOM file, parsed once; its slices are read one by one."""

    def __init__(self, source: Buffer | BinaryIO) -> None:
        """Parses the file up to its pixels.

        Args:
          source: Content of the file, or a seekable binary file. The latter has to stay open, and
            its frames are read when they are needed.

        Raises:
          DicomError: If the file cannot be parsed.
        """
        self._dataset = parse(Content(source))
        self._frames = Frames(self._dataset)
        self._pixels: Pixels | None = None
        if self.numbers[0]:
            # Of the frames' own groups, `make_header` is told.
            check_quantity(self._dataset)

    @property
    def numbers(self) -> range:
        """Numbers of the frames, from 1; only 0 in a file of one slice."""
        return self._frames.numbers

    def headers(self) -> list[Header]:
        """Reads the headers of all slices.

        Raises:
          DicomError: If a slice is no axial CT slice with a valid geometry.
        """
        headers, errors = self.scan()
        for error in errors.values():
            raise error
        return headers

    def scan(self) -> tuple[list[Header], dict[int, DicomError]]:
        """Reads the headers of the slices that can be used.

        Returns:
          The headers; and why each other frame has none, by its number.

        Raises:
          DicomError: If no frame can be used: the reason of the first, or of the pixels of all.
        """
        headers: list[Header] = []
        errors: dict[int, DicomError] = {}
        for frame in self.numbers:
            header = self._header(frame)
            if isinstance(header, Header):
                headers.append(header)
            else:
                errors[frame] = header
        if not headers:
            raise next(iter(errors.values()))
        if len(self.numbers) > 1:
            # What is wrong with the pixels of all frames is said once, and not of each frame.
            self._find_pixels()
        return headers, errors

    def _header(self, frame: int) -> Header | DicomError:
        try:
            return make_header(self._frames[frame], frame)
        except DicomError as error:
            return error

    def slice(self, frame: int = 0) -> Slice:
        """Reads a slice into Hounsfield units.

        Args:
          frame: Number of the frame, from 1; 0 in a file of one slice.

        Raises:
          DicomError: If it is no axial CT slice, or its pixels cannot be read whole.
        """
        dataset = self._frames[frame]
        header = make_header(dataset, frame)
        hu, repairs, decoder = self._find_pixels().hounsfield_units(dataset, header)
        repairs = (*dataset.repairs, *repairs)
        return Slice(header, hu, repairs, decoder, scanner_maker(dataset))

    def stored_values(self, frame: int = 0) -> np.ndarray:
        """Reads the stored values of a slice, integers [rows, columns], nothing repaired.

        Args:
          frame: As for `slice`.

        Raises:
          DicomError: As `slice`.
        """
        header = make_header(self._frames[frame], frame)
        return self._find_pixels().stored_values(header)

    def slices(self) -> Iterator[Slice]:
        """Reads every slice.

        Raises:
          DicomError: As `slice`.
        """
        return map(self.slice, self.numbers)

    def _find_pixels(self) -> Pixels:
        if self._pixels is None:
            self._pixels = Pixels(self._dataset)
        return self._pixels


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
      >>> from ich_tf.dicom.reasons import DicomError
      >>> try:
      ...     read_headers(io.BytesIO(b""))
      ... except DicomError as error:
      ...     print(error.reason.value, error)
      NOT_DICOM is empty; expected a DICOM file.
    """
    return DicomFile(file).headers()


def read_slice(data: Buffer, frame: int = 0) -> Slice:
    """Reads one slice of a DICOM file into Hounsfield units.

    Args:
      data: Content of the file.
      frame: Number of the frame in an enhanced multi-frame file, from 1; 0 for a file of one
        slice.

    Raises:
      DicomError: If it is no axial CT slice, or its pixels cannot be read whole.

    Examples:
      >>> from ich_tf.dicom.reasons import DicomError
      >>> try:
      ...     read_slice(b"no DICOM file")
      ... except DicomError as error:
      ...     print(error.reason.value)
      NOT_DICOM
    """
    return DicomFile(data).slice(frame)


def read_slices(data: Buffer) -> Iterator[Slice]:
    """Reads every slice of a DICOM file: a single one, or the frames of an enhanced file.

    Args:
      data: Content of the file.

    Raises:
      DicomError: If a slice is no axial CT slice, or its pixels cannot be read whole.
    """
    return DicomFile(data).slices()
