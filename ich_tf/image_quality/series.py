"""A folder of CT files -> its series, each read into one array of Hounsfield units."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ich_tf.dicom.choice import SeriesChoice
from ich_tf.dicom.geometry import places_along
from ich_tf.dicom.header import Header
from ich_tf.dicom.listing import list_sources
from ich_tf.dicom.reasons import DicomError
from ich_tf.dicom.series import group_by_series
from ich_tf.dicom.series_description import describe_series
from ich_tf.dicom.source_reader import SourceReader
from ich_tf.dicom.sources import Source


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """A CT series.

    Attributes:
      name: Name to show: the folder of its first file, and a number.
      patient: Patient, as `PatientID` tells; the series' name where it has none.
      kernel: Class of the reconstruction kernel, one of `kernels.KERNELS`.
      hu: Hounsfield units, float32 [slices, rows, columns], from the feet to the head.
      spacing_mm: Distance between rows, and between columns.
      places_mm: Position of each slice along the normal, float64 [slices].
      thickness_mm: Thickness of each slice, float64 [slices]; 0 where the header has none.
    """

    name: str
    patient: str
    kernel: str
    hu: np.ndarray
    spacing_mm: tuple[float, float]
    places_mm: np.ndarray
    thickness_mm: np.ndarray

    @property
    def pixel_mm(self) -> float:
        """Side of a square pixel of the same area, mm."""
        return math.sqrt(self.spacing_mm[0] * self.spacing_mm[1])


@dataclasses.dataclass(frozen=True)
class ListedSeries:
    """A series whose pixels have not been read yet.

    Attributes:
      name: As `Series.name`.
      patient: As `Series.patient`.
      slices: Source and header of each slice, from the feet to the head.
    """

    name: str
    patient: str
    slices: tuple[ListedSlice, ...]

    def read(self) -> Series:
        """Reads the pixels.

        Raises:
          DicomError: If a slice cannot be read.
        """
        headers = [slice_.header for slice_ in self.slices]
        with SourceReader() as reader:
            hu = np.stack([reader.slice(s.source, s.header.frame).hu for s in self.slices])
        return Series(
            self.name,
            self.patient,
            headers[0].kernel,
            hu,
            headers[0].spacing_mm,
            np.array(places_along(headers)),
            np.array([header.thickness_mm for header in headers]),
        )


@dataclasses.dataclass(frozen=True)
class ListedSlice:
    """A slice that a file holds.

    Attributes:
      source: The file.
      header: Header of the slice.
    """

    source: Source
    header: Header


def list_series(path: str | Path, series: str = "best") -> tuple[list[ListedSeries], Counter[str]]:
    """Finds the series at a path.

    Args:
      path: Folder, archive, file or list of files, as `dicom.listing.list_sources` takes it.
      series: Rule by which series are chosen, as `dicom.choice.SeriesChoice` reads it.

    Returns:
      The series by patient and study; and the number of files or slices by the reason for which
      they were left out.

    Raises:
      InputError: If there is no such path, or it holds no file.
      ConfigError: If `series` is no such rule.
    """
    choice = SeriesChoice.parse(series)
    listing = list_sources(path)
    slices: list[ListedSlice] = []
    left_out = Counter(rejection.reason for rejection in listing.rejections)
    with SourceReader() as reader:
        for source in listing.sources:
            try:
                headers, errors = reader.file(source).scan()
            except DicomError as error:
                left_out[error.reason.value] += 1
                continue
            left_out.update(error.reason.value for error in errors.values())
            slices += [ListedSlice(source, header) for header in headers]
    studies: dict[tuple[str, str], dict[str, list[ListedSlice]]] = {}
    for (patient, study, series_id), members in group_by_series(slices).items():
        studies.setdefault((patient, study), {})[series_id] = members
    found: list[ListedSeries] = []
    for (patient, _), passes in studies.items():
        descriptions = [
            describe_series(series_id, [slice_.header for slice_ in members])
            for series_id, members in passes.items()
        ]
        for members, why_not in zip(passes.values(), choice.why_not(descriptions), strict=True):
            if why_not:
                left_out["NOT_CHOSEN"] += len(members)
                continue
            name = _name(Path(path), members, len(found))
            found.append(ListedSeries(name, patient or name, tuple(members)))
    return found, left_out


def _name(path: Path, members: Sequence[ListedSlice], number: int) -> str:
    """Name of a series: that of its folder, and its number among the series of the path."""
    folder = Path(members[0].source.shown).parent.name or path.name
    return f"{folder} {number + 1}"
