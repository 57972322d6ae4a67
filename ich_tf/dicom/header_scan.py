"""Headers of many files, read by the workers of an executor."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ich_tf.dicom.crop import Box, head_box
from ich_tf.dicom.guard import guarded
from ich_tf.dicom.header import Header
from ich_tf.dicom.nifti_file import NiftiFile
from ich_tf.dicom.nifti_names import is_nifti
from ich_tf.dicom.pixel_hash import pixel_hash
from ich_tf.dicom.reader import DicomFile
from ich_tf.dicom.reasons import READER_DIED, DicomError, Reason, Rejection, quarantine_path
from ich_tf.dicom.source_reader import SourceReader, check_size
from ich_tf.dicom.sources import Source
from ich_tf.runtime.executors.base import Executor
from ich_tf.windows import store_hu


@dataclass(frozen=True, slots=True)
class ScannedHeader:
    """The header of one slice, and the file that it was read from.

    Attributes:
      source: The file; frames of a multi-frame file share it.
      header: Identifiers and geometry of the slice.
      crop: Box of the head in this slice alone; empty if there is none, or none was looked for.
      pixel_hash: Hash of the whole slice's pixels in stored form (`pixel_hash.pixel_hash`); 0 if
        there is none, or it was not computed.
    """

    source: Source
    header: Header
    crop: Box = ()
    pixel_hash: int = 0


def scan_headers(
    sources: Sequence[Source], executor: Executor, crop: str = "none", hash_size: int = 0
) -> Iterator[ScannedHeader | Rejection]:
    """Reads the headers of all files.

    Args:
      sources: The files.
      executor: Executor whose workers read them.
      crop: `head` to find the box of the head in each slice, for which files are read whole; else
        `none`.
      hash_size: Rows and columns of the stored form whose pixels are hashed, px, for which files
        are read whole; 0 to hash none.

    Yields:
      Every slice, and every file that has none, in the order of `sources`.
    """
    scan = functools.partial(scan_file, find_head=crop == "head", hash_size=hash_size)
    for headers in executor.map(scan, sources, "index", _died):
        yield from headers


def scan_file(
    source: Source, find_head: bool = False, hash_size: int = 0
) -> Sequence[ScannedHeader | Rejection]:
    """Reads the headers of one file's slices. Runs in a worker.

    Args:
      source: The file.
      find_head: Whether to read the pixels, too, and find the box of the head in each slice.
      hash_size: Rows and columns of the stored form whose pixels are hashed, px; 0 to hash none.

    Returns:
      A header for each slice that can be used, and a rejection for each other frame; of a file
      without any, a single rejection.
    """
    try:
        with guarded():
            if find_head or hash_size:
                return _headers_with_pixels(source, find_head, hash_size)
            return _headers(source)
    except DicomError as error:
        error = _damage(source) or error
        return [Rejection(source.name, "index", error.reason.value, str(error))]


def _damage(source: Source) -> DicomError | None:
    """The damage of an archive's member whose header cannot be used, as its checksum shows."""
    if source.place:
        try:
            source.read()
        except DicomError as error:
            if error.reason in (Reason.BAD_ARCHIVE, Reason.UNREADABLE):
                return error
    return None


def _headers(source: Source) -> Sequence[ScannedHeader | Rejection]:
    with source.open() as opened:
        if is_nifti(source.name):
            headers, _ = NiftiFile(opened, source.name).scan()
            return [ScannedHeader(source, header) for header in headers]
        file = DicomFile(opened)
        headers, errors = file.scan()
        if len(file.numbers) > 1:
            check_size(opened)
        return [*(ScannedHeader(source, header) for header in headers), *_of_frames(source, errors)]


def _of_frames(source: Source, errors: dict[int, DicomError]) -> Iterator[Rejection]:
    for frame, error in errors.items():
        path = quarantine_path(source.name, frame)
        yield Rejection(path, "index", error.reason.value, str(error))


def _died(source: Source) -> Sequence[ScannedHeader | Rejection]:
    """What stands for a file that ended its worker twice."""
    return [Rejection(source.name, "index", Reason.DECODER_DIED.value, READER_DIED)]


def _headers_with_pixels(
    source: Source, find_head: bool, hash_size: int
) -> Sequence[ScannedHeader | Rejection]:
    headers = []
    with SourceReader() as reader:
        found, errors = reader.file(source).scan()
        for header in found:
            try:
                hu = reader.slice(source, header.frame).hu
            except DicomError:
                # The slice is quarantined when it is to be written.
                headers.append(ScannedHeader(source, header))
                continue
            box = head_box(hu, header.spacing_mm) if find_head else ()
            of_pixels = pixel_hash(store_hu(hu, hash_size)) if hash_size else 0
            headers.append(ScannedHeader(source, header, box, of_pixels))
    return [*headers, *_of_frames(source, errors)]
