"""The series of a folder that bleeds are put into: chosen as conversion chooses, read whole."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.dicom import series
from ich_tf.dicom.choice import SeriesChoice, not_chosen_message
from ich_tf.dicom.geometry import places_along, series_normal
from ich_tf.dicom.header import Header
from ich_tf.dicom.header_scan import ScannedHeader, scan_headers
from ich_tf.dicom.reasons import DicomError, Reason, Rejection, quarantine_path
from ich_tf.dicom.series_description import describe_series
from ich_tf.dicom.source_reader import SourceReader
from ich_tf.dicom.sources import Source
from ich_tf.metrics.extents import slice_extents_mm
from ich_tf.runtime.executors.base import Executor


@dataclass(frozen=True, eq=False)
class Scan:
    """A series of axial slices, from the feet to the head.

    Attributes:
      sources: File of each slice.
      headers: Header of each slice; all slices have one matrix and one orientation.
      hu: Hounsfield units, float32 [S, rows, columns].
      places_mm: Position of each slice along the common normal, float64 [S], ascending.
      thickness_mm: Length along the normal that each slice shows, float64 [S]: as its header says,
        else the distance to its neighbours.
    """

    sources: tuple[Source, ...]
    headers: tuple[Header, ...]
    hu: np.ndarray
    places_mm: np.ndarray
    thickness_mm: np.ndarray

    @property
    def lengths_mm(self) -> np.ndarray:
        """Length along the normal that each slice stands for, mm, float64 [S]."""
        return slice_extents_mm(self.places_mm, float(self.thickness_mm[0]))

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """Distance between rows, and between columns."""
        return self.headers[0].spacing_mm

    @property
    def normal(self) -> np.ndarray:
        """Unit normal of the slices, float64 [3], towards the head."""
        return series_normal(self.headers)


@dataclass(frozen=True)
class ChosenSeries:
    """A series that bleeds may be put into.

    Attributes:
      study_id: Study instance UID.
      series_id: Series instance UID, with the number of the pass if it has several.
      slices: Headers of its slices and their files, along the normal.
      kernel: Class of its reconstruction kernel, one of `kernels.KERNELS`.
    """

    study_id: str
    series_id: str
    slices: tuple[ScannedHeader, ...]
    kernel: str

    @property
    def digest(self) -> str:
        """Hash of the slices' headers, which tells series apart, 16 hexadecimal digits."""
        text = "".join(slice_.header.digest() for slice_ in self.slices)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def choose_series(
    sources: Sequence[Source], choice: SeriesChoice, executor: Executor
) -> tuple[list[ChosenSeries], list[Rejection]]:
    """Finds the series to use.

    Args:
      sources: Files.
      choice: Rule of the choice.
      executor: Executor whose workers read the headers.

    Returns:
      The chosen series; and why each other file or frame is not used.
    """
    scanned: list[ScannedHeader] = []
    rejections: list[Rejection] = []
    for result in scan_headers(sources, executor):
        if isinstance(result, Rejection):
            rejections.append(result)
        else:
            scanned.append(result)
    chosen = []
    for _, group in itertools.groupby(
        series.group_by_series(scanned).items(), key=lambda item: item[0][:2]
    ):
        study = list(group)
        descriptions = [
            describe_series(ids[2], [slice_.header for slice_ in members]) for ids, members in study
        ]
        reasons = choice.why_not(descriptions)
        for (ids, members), description, why_not in zip(study, descriptions, reasons, strict=True):
            if not why_not:
                chosen.append(ChosenSeries(ids[1], ids[2], tuple(members), description.kernel))
                continue
            message = not_chosen_message(description, why_not)
            rejections += [
                Rejection(
                    quarantine_path(slice_.source.shown, slice_.header.frame),
                    "index",
                    Reason.SERIES_NOT_CHOSEN.value,
                    message,
                )
                for slice_ in members
            ]
    return chosen, rejections


def read_scan(chosen: ChosenSeries) -> Scan:
    """Reads the pixels of a series.

    Raises:
      DicomError: If a slice cannot be read, or its slices are not of one matrix and orientation.
    """
    headers = tuple(slice_.header for slice_ in chosen.slices)
    first = headers[0]
    for header in headers:
        if (header.rows, header.columns, header.spacing_mm) != (
            first.rows,
            first.columns,
            first.spacing_mm,
        ) or not np.allclose(header.orientation, first.orientation, atol=1e-3):
            raise DicomError(
                Reason.BAD_GEOMETRY,
                "its slices have several matrices, spacings or orientations; expected one of each.",
            )
    if min(first.orientation[0], first.orientation[4], first.normal[2]) < 0.7:
        raise DicomError(
            Reason.BAD_GEOMETRY,
            "its slices are turned or mirrored; expected rows to the patient's left and columns to "
            "the back.",
        )
    with SourceReader() as reader:
        hu = np.stack([_read_slice(reader, slice_) for slice_ in chosen.slices])
    places = np.array(places_along(headers))
    return Scan(
        tuple(slice_.source for slice_ in chosen.slices),
        headers,
        hu,
        places,
        np.array(list(_thicknesses(headers, places))),
    )


def _read_slice(reader: SourceReader, slice_: ScannedHeader) -> np.ndarray:
    frame = slice_.header.frame
    try:
        return reader.slice(slice_.source, frame).hu
    except DicomError as error:
        where = quarantine_path(slice_.source.shown, frame)
        raise DicomError(error.reason, f"its slice {where}: {error}") from error


def _thicknesses(headers: Sequence[Header], places: np.ndarray) -> Iterator[float]:
    """Thickness of each slice; where the header has none, the smaller step to a neighbour."""
    steps = np.diff(places)
    for index, header in enumerate(headers):
        beside = steps[max(0, index - 1) : index + 1]
        yield header.thickness_mm or (float(beside.min()) if len(beside) else 5.0)
