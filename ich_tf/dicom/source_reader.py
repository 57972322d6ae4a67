"""Slices of sources: each file is read and parsed once while its frames follow each other."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from typing import BinaryIO

from ich_tf.dicom.content import Content
from ich_tf.dicom.guard import guarded
from ich_tf.dicom.nifti_file import NiftiFile
from ich_tf.dicom.nifti_names import is_nifti
from ich_tf.dicom.reader import DicomFile, Slice
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.dicom.sources import MAX_FILE_BYTES, Source

# MAX_FRAMES of 512 x 512 pixels have 1 GiB. Larger files are refused, since their hash takes long.
MAX_LARGE_FILE_BYTES = 2 * 2**30
_HASH_STEP = 2**20


class SourceReader:
    """Reads slices of sources. A context manager: it holds a large file open.

    Attributes:
      sha256: SHA-256 of the last file, hexadecimal; empty if it was not read whole.
    """

    def __init__(self) -> None:
        self.sha256 = ""
        self._source: Source | None = None
        self._file: DicomFile | NiftiFile | None = None
        self._error: DicomError | None = None
        self._open = ExitStack()

    def __enter__(self) -> SourceReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def slice(self, source: Source, frame: int) -> Slice:
        """Reads a slice.

        Args:
          source: The file.
          frame: Number of the frame in an enhanced multi-frame file, or of the slice in a NIfTI
            file, from 1; 0 for a file of one slice.

        Raises:
          DicomError: If the file gives no such slice, for whatever reason.
        """
        with guarded():
            return self.file(source).slice(frame)

    def file(self, source: Source) -> DicomFile | NiftiFile:
        """Reads and parses a file, unless it is the last one that was.

        Raises:
          DicomError: If it cannot be parsed.
        """
        if source != self._source:
            self._open.close()
            self._source, self._file, self._error, self.sha256 = None, None, None, ""
            try:
                with guarded():
                    self._file = self._parse(source)
            except DicomError as error:
                self._error = error
                if error.reason.is_of_machine:  # which may be past when it is tried again
                    raise
            self._source = source
        if self._error is not None:
            raise DicomError(self._error.reason, str(self._error))
        assert self._file is not None
        return self._file

    def _parse(self, source: Source) -> DicomFile | NiftiFile:
        if is_nifti(source.name):
            return self._read_volume(source)
        try:
            data = source.read()
        except DicomError as error:
            if error.reason is not Reason.TOO_LARGE:
                raise
            return self._parse_large(source)
        self.sha256 = hashlib.sha256(data).hexdigest()
        return DicomFile(data)

    def _read_volume(self, source: Source) -> NiftiFile:
        """Reads a NIfTI file whole: its slices may lie across it, and packed ones have no start."""
        with source.open() as opened:
            volume = NiftiFile(opened, source.name)
            volume.load()
        self.sha256 = volume.sha256
        return volume

    def _parse_large(self, source: Source) -> DicomFile:
        """Parses a file that is read frame by frame."""
        opened = self._open.enter_context(source.open())
        file = DicomFile(opened)
        if len(file.numbers) == 1:
            raise DicomError(
                Reason.TOO_LARGE, f"more than {MAX_FILE_BYTES >> 20} MiB; expected one slice."
            )
        self.sha256 = _sha256(opened)
        return file


def check_size(file: BinaryIO) -> None:
    """Raises TOO_LARGE for a file that `SourceReader` refuses by its size."""
    if Content(file).size > MAX_LARGE_FILE_BYTES:
        raise DicomError(
            Reason.TOO_LARGE,
            f"more than {MAX_LARGE_FILE_BYTES >> 30} GiB; expected one series at most.",
        )


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    check_size(file)
    file.seek(0)
    while data := file.read(_HASH_STEP):
        digest.update(data)
    return digest.hexdigest()
