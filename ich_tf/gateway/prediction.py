"""Prediction of one study: what the worker asks of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class StudyPrediction:
    """What a model found in a study.

    Attributes:
      findings: Greatest probability of the study's series, by class.
      is_suspected: Whether a series is at or above the operating point for any bleed; None without
        such a point.
      warnings: Codes of what speaks against believing it (`dicom.series_warnings`).
      files: DICOM files of the results.
    """

    findings: Mapping[str, float]
    is_suspected: bool | None
    warnings: tuple[str, ...]
    files: tuple[Path, ...]


class Predict(Protocol):
    """Predicts a study."""

    def __call__(self, images: Path, work: Path, results: Path) -> StudyPrediction:
        """Predicts a study, and writes its results.

        Args:
          images: Folder of the images.
          work: Folder for files of the prediction, which is new and will be deleted.
          results: Folder for the results, which is not there yet.

        Raises:
          InputError: If the study cannot be predicted.
        """
