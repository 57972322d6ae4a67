"""Description of a series in closed terms and numbers, by which series are compared and chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.dicom.description import number_text
from ich_tf.dicom.geometry import places_along
from ich_tf.dicom.header import Header
from ich_tf.dicom.series import pass_of


@dataclass(frozen=True, slots=True)
class SeriesDescription:
    """A series, or one pass of it, in closed terms.

    Attributes:
      uid: Series instance UID.
      number_of_pass: Number of the pass in its series, from 1.
      num_slices: Number of slices.
      kernel: Class of the kernel, one of `KERNELS`.
      thickness_mm: Median thickness of its slices; 0 if unknown.
      spacing_mm: Median distance between its slices; 0 for a single slice.
      coverage_mm: Length of the body that it covers, whole slices included.
      contrast: One of `CONTRASTS`.
      origin: One of `ORIGINS`.
      content: One of `CONTENTS`.
      series_number: SeriesNumber; -1 if unknown.
      acquisition: Least AcquisitionNumber; -1 if unknown.
    """

    uid: str
    number_of_pass: int
    num_slices: int
    kernel: str
    thickness_mm: float
    spacing_mm: float
    coverage_mm: float
    contrast: str
    origin: str
    content: str
    series_number: int
    acquisition: int

    @property
    def slice_mm(self) -> float:
        """Thickness of its slices; where that is unknown, the distance between them."""
        return self.thickness_mm or self.spacing_mm

    def text(self) -> str:
        """Description for people, of closed terms and numbers.

        Examples:
          >>> SeriesDescription(
          ...     "1.2", 1, 28, "soft", 5.0, 5.0, 140.0, "no", "original", "axial", 201, 1
          ... ).text()
          'original axial, soft kernel, contrast no, 28 slices of 5 mm'
        """
        noun = "slice" if self.num_slices == 1 else "slices"
        return (
            f"{self.origin} {self.content}, {self.kernel} kernel, contrast {self.contrast}, "
            f"{self.num_slices} {noun} of {number_text(self.slice_mm)} mm"
        )


def describe_series(series_id: str, headers: Sequence[Header]) -> SeriesDescription:
    """Describes the slices of one series, or of one pass of it.

    Args:
      series_id: Id of the series, as `series.pass_id` makes it.
      headers: Headers of its slices, in any order.
    """
    places = np.sort(places_along(headers))
    steps = np.diff(places)
    spacing = round(float(np.median(steps)), 3) if len(steps) else 0.0
    known = [header.thickness_mm for header in headers if header.thickness_mm > 0]
    thickness = round(float(np.median(known)), 3) if known else 0.0
    numbers = [header.acquisition for header in headers if header.acquisition >= 0]
    uid, number = pass_of(series_id)
    return SeriesDescription(
        uid=uid,
        number_of_pass=number,
        num_slices=len(headers),
        kernel=_commonest(header.kernel for header in headers),
        thickness_mm=thickness,
        spacing_mm=spacing,
        coverage_mm=round(float(places[-1] - places[0]) + (spacing or thickness), 3),
        contrast=_commonest(header.contrast for header in headers),
        origin=_commonest(header.origin for header in headers),
        content=_commonest(header.content for header in headers),
        series_number=headers[0].series_number,
        acquisition=min(numbers, default=-1),
    )


def _commonest(terms: Iterable[str]) -> str:
    counts = Counter(terms)
    return min(counts, key=lambda term: (-counts[term], term))
