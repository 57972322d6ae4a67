"""Headers of many files, read by the workers of an executor."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ich_tf.dicom.crop import Box, head_box
from ich_tf.dicom.guard import guarded
from ich_tf.dicom.header import Header
from ich_tf.dicom.reader import DicomFile
from ich_tf.dicom.reasons import READER_DIED, DicomError, Reason, Rejection
from ich_tf.dicom.source_reader import SourceReader, check_size
from ich_tf.dicom.sources import Source
from ich_tf.runtime.executors.base import Executor


@dataclass(frozen=True, slots=True)
class ScannedHeader:
    """The header of one slice, and the file that it was read from.

    Attributes:
      source: The file; frames of a multi-frame file share it.
      header: Identifiers and geometry of the slice.
      crop: Box of the head in this slice alone; empty if there is none, or none was looked for.
    """

    source: Source
    header: Header
    crop: Box = ()


def scan_headers(
    sources: Sequence[Source], executor: Executor, crop: str = "none"
) -> Iterator[ScannedHeader | Rejection]:
    """Reads the headers of all files.

    Args:
      sources: The files.
      executor: Executor whose workers read them.
      crop: `head` to find the box of the head in each slice, for which files are read whole; else
        `none`.

    Yields:
      Every slice, and every file that has none, in the order of `sources`.
    """
    scan = functools.partial(scan_file, find_head=crop == "head")
    for headers in executor.map(scan, sources, "index", _died):
        yield from headers


def scan_file(source: Source, find_head: bool = False) -> Sequence[ScannedHeader | Rejection]:
    """Reads the headers of one file's slices. Runs in a worker.

    Args:
      source: The file.
      find_head: Whether to read the pixels, too, and find the box of the head in each slice.

    Returns:
      A header for each slice, or a single rejection.
    """
    try:
        with guarded():
            return _headers_with_heads(source) if find_head else _headers(source)
    except DicomError as error:
        return [Rejection(source.name, "index", error.reason.value, str(error))]


def _headers(source: Source) -> list[ScannedHeader]:
    with source.open() as opened:
        file = DicomFile(opened)
        headers = [ScannedHeader(source, header) for header in file.headers()]
        if len(headers) > 1:
            check_size(opened)
        return headers


def _died(source: Source) -> Sequence[ScannedHeader | Rejection]:
    """What stands for a file that ended its worker twice."""
    return [Rejection(source.name, "index", Reason.DECODER_DIED.value, READER_DIED)]


def _headers_with_heads(source: Source) -> list[ScannedHeader]:
    headers = []
    with SourceReader() as reader:
        for header in reader.file(source).headers():
            try:
                slice_ = reader.slice(source, header.frame)
                box = head_box(slice_.hu, header.spacing_mm)
            except DicomError:
                box = ()  # the slice is quarantined when it is to be written
            headers.append(ScannedHeader(source, header, box))
    return headers
