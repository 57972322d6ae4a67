"""What a model found in one series, as objects report it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ich_tf.dicom.series_warnings import SeriesWarning
from ich_tf.labels import ANY, CLASSES
from ich_tf.reporting.algorithm import Algorithm
from ich_tf.reporting.identity import SourceImage, SourceStudy
from ich_tf.reporting.uids import ResultUids

# Part of the UIDs of the segmentation of a series, which its report refers to.
SEGMENTATION = "segmentation"


@dataclass(frozen=True, eq=False)
class SeriesFindings:
    """A series with its predictions.

    Attributes:
      study: Study that the results belong to.
      images: Slices by their place along the series, at least those that results name.
      probabilities: Probability of each class in each slice, [n, 6].
      summary: `max`, `decisions` and `abstention`, if any, by class, as `series_summary.summarize`
        makes them, and `volumes` by kind and class, None or absent for a model without masks.
      algorithm: Model that predicted it.
      uids: UIDs of the results.
      number: Number of the series among those of its study that were predicted, from 0.
      segments: Number of the segment of each class in the segmentation of the series, from 1; empty
        without a segmentation.
      warnings: What speaks against believing the predictions.
    """

    study: SourceStudy
    images: Sequence[SourceImage] | Mapping[int, SourceImage]
    probabilities: np.ndarray
    summary: Mapping[str, Any]
    algorithm: Algorithm
    uids: ResultUids
    number: int = 0
    segments: Mapping[str, int] = field(default_factory=dict)
    warnings: Sequence[SeriesWarning] = ()

    def most_suspicious(self, name: str) -> int:
        """Place of the slice with the greatest probability of a class."""
        return int(np.argmax(self.probabilities[:, CLASSES.index(name)]))

    def suspicious(self) -> list[int]:
        """Places of the slices at or above the operating point of `any`, highest first."""
        values = self.probabilities[:, ANY]
        places = np.argsort(-values, kind="stable")
        return [int(i) for i in places if values[i] >= self.algorithm.slice_point("any")]
