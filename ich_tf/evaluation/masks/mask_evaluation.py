"""Masks of a split's series -> scores of each class, by series, slice, patient and size."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ich_tf.evaluation.masks.mask_estimate import MaskEstimate, estimates
from ich_tf.evaluation.masks.segmented_series import SegmentedSeries
from ich_tf.labels import CLASSES
from ich_tf.metrics import MaskScores, score_series, score_slices

# Borders between the sizes of bleeds and of lesions, ml.
_SIZES_ML = (1.0, 5.0, 10.0, 30.0)
# Scores that make sense of a slice by itself; a volume is that of a series.
_OF_SLICES = ("dice", "surface_dice", "hausdorff_mm", "missed_share")
_OF_LESIONS = ("lesion_sensitivity", "lesion_precision", "lesion_f1")


@dataclass(frozen=True)
class SizeScores:
    """Scores of the bleeds, or of the lesions, of one size.

    Attributes:
      name: Name of the size, such as `1 to 5 ml`.
      scores: Name of a score -> estimate.
    """

    name: str
    scores: dict[str, MaskEstimate]


@dataclass(frozen=True)
class MaskClassScores:
    """Scores of the masks of one class.

    Attributes:
      threshold: Least probability of a marked pixel.
      num_bleeds: Number of series that have a bleed of the class, in the slices where it is
        annotated.
      num_partly: Number of those of them in which it is not annotated in every slice.
      num_negative: Number of series without, annotated in every slice.
      series: Scores of series by the names of `metrics.summarize_masks`.
      slices: Scores of the slices that show the class, each by itself.
      patients: Scores of series, in which each patient counts once.
      volumes: Dice of series by the volume of their bleed.
      lesions: Scores of lesions by their volume: of sensitivity the true lesion's, of precision
        the predicted one's.
    """

    threshold: float
    num_bleeds: int
    num_partly: int
    num_negative: int
    series: dict[str, MaskEstimate]
    slices: dict[str, MaskEstimate]
    patients: dict[str, MaskEstimate]
    volumes: list[SizeScores]
    lesions: list[SizeScores]

    def text(self) -> str:
        """Describes the main scores in one line."""
        series = self.series
        false_ml = f"{series['false_ml'].text(2)} ml false a series in {self.num_negative} without"
        if not self.num_bleeds:
            return false_ml
        return (
            f"Dice {series['dice'].text()}, surface Dice {series['surface_dice'].text()}, HD95 "
            f"{series['hausdorff_mm'].text(1)} mm, volume bias "
            f"{series['volume_bias_ml'].text(2)} ml in {self.num_bleeds} series; {false_ml}"
        )


@dataclass(frozen=True)
class ScoredSeries:
    """A series and the scores of its masks of one class.

    Attributes:
      class_name: Name of the class.
      series_key, patient_key: Keys of the series and of its patient.
      num_slices: Number of its slices.
      num_annotated: Number of those in which the class is annotated, which alone are scored.
      scores: Scores of the masks.
      slices: Scores of the slices that show the class.
    """

    class_name: str
    series_key: str
    patient_key: str
    num_slices: int
    num_annotated: int
    scores: MaskScores
    slices: tuple[MaskScores, ...]

    @property
    def has_bleed(self) -> bool:
        """Whether the record's masks mark anything."""
        return self.scores.reference_ml > 0

    @property
    def is_negative(self) -> bool:
        """Whether nothing is marked in the series, as far as all of its slices tell."""
        return not self.has_bleed and self.num_annotated == self.num_slices


def score_masks(series: Sequence[SegmentedSeries]) -> list[ScoredSeries]:
    """Scores each series and class that masks tell of.

    A series in which some slices are annotated and empty, and others not annotated, is no negative
    one, and is left out, as is one of a single slice, which has no volume.
    """
    scored = []
    for each in series:
        if not each.has_volume:
            continue
        reference, prediction = each.bits()
        for k, name in enumerate(CLASSES):
            known = each.annotated(k)
            if not known.any():
                continue
            # Empty in both where the class is not annotated: neither volumes nor the distances
            # between the other slices change.
            true, predicted = (
                (bits >> k & 1).astype(bool) & known[:, None, None]
                for bits in (reference, prediction)
            )
            shown = np.flatnonzero(true.any(axis=(1, 2)))
            of_slices = score_slices(true, predicted, each.spacing_mm)
            result = ScoredSeries(
                name,
                each.series_key,
                each.patient_key,
                len(known),
                int(known.sum()),
                score_series(true, predicted, each.spacing_mm),
                tuple(of_slices[number] for number in shown),
            )
            if result.has_bleed or result.is_negative:
                scored.append(result)
    return scored


def summarize(
    scored: Sequence[ScoredSeries], thresholds: Mapping[str, float], num_resamples: int
) -> dict[str, MaskClassScores]:
    """Sums up the series of a split.

    Args:
      scored: Result of `score_masks`.
      thresholds: Class -> least probability of a marked pixel.
      num_resamples: Number of bootstrap resamples; 0 leaves the intervals undefined.

    Returns:
      Class -> scores; classes without a scored series are missing.
    """
    by_class = {name: [each for each in scored if each.class_name == name] for name in CLASSES}
    return {
        name: _summarize_class(rows, thresholds[name], num_resamples)
        for name, rows in by_class.items()
        if rows
    }


def series_table(scored: Sequence[ScoredSeries]) -> pd.DataFrame:
    """Makes a table with a row for each series and class; what is not defined is empty."""
    rows = [
        {
            "series_key": each.series_key,
            "patient_key": each.patient_key,
            "class": each.class_name,
            "slices": each.num_slices,
            "annotated": each.num_annotated,
            "reference_ml": each.scores.reference_ml,
            "predicted_ml": each.scores.predicted_ml,
            "dice": each.scores.dice,
            "surface_dice": each.scores.surface_dice,
            "hausdorff_mm": each.scores.hausdorff_mm,
            "lesions": len(each.scores.lesions.is_found),
            "lesions_found": int(each.scores.lesions.is_found.sum()),
            "lesions_predicted": len(each.scores.lesions.is_confirmed),
            "lesions_confirmed": int(each.scores.lesions.is_confirmed.sum()),
        }
        for each in scored
    ]
    return pd.DataFrame(rows)


def _summarize_class(
    rows: Sequence[ScoredSeries], threshold: float, num_resamples: int
) -> MaskClassScores:
    scores = [row.scores for row in rows]
    patients = [row.patient_key for row in rows]
    slices = [score for row in rows for score in row.slices]
    of_slices = {}
    if slices:
        patient_of = [row.patient_key for row in rows for _ in row.slices]
        of_slices = estimates(slices, patient_of, num_resamples)
    bleeds = [row for row in rows if row.has_bleed]
    return MaskClassScores(
        threshold=threshold,
        num_bleeds=len(bleeds),
        num_partly=sum(row.num_annotated < row.num_slices for row in bleeds),
        num_negative=len(rows) - len(bleeds),
        series=estimates(scores, patients, num_resamples),
        slices={name: of_slices[name] for name in _OF_SLICES if name in of_slices},
        patients=estimates(scores, patients, num_resamples, by_patient=True),
        volumes=_by_volume(bleeds, num_resamples),
        lesions=_by_lesion(rows, num_resamples),
    )


def _by_volume(bleeds: Sequence[ScoredSeries], num_resamples: int) -> list[SizeScores]:
    sizes = []
    for name, low_ml, high_ml in _sizes():
        chosen = [row for row in bleeds if low_ml <= row.scores.reference_ml < high_ml]
        if chosen:
            summary = estimates(
                [row.scores for row in chosen], [row.patient_key for row in chosen], num_resamples
            )
            sizes.append(SizeScores(name, {"dice": summary["dice"]}))
    return sizes


def _by_lesion(rows: Sequence[ScoredSeries], num_resamples: int) -> list[SizeScores]:
    sizes = []
    for name, low_ml, high_ml in _sizes():
        cut = [
            dataclasses.replace(row.scores, lesions=row.scores.lesions.between(low_ml, high_ml))
            for row in rows
        ]
        if any(len(score.lesions.is_found) + len(score.lesions.is_confirmed) for score in cut):
            summary = estimates(cut, [row.patient_key for row in rows], num_resamples)
            sizes.append(SizeScores(name, {score: summary[score] for score in _OF_LESIONS}))
    return sizes


def _sizes() -> list[tuple[str, float, float]]:
    """Name, least and greatest volume of each size, ml."""
    inner = [(f"{low:g} to {high:g} ml", low, high) for low, high in itertools.pairwise(_SIZES_ML)]
    first, last = _SIZES_ML[0], _SIZES_ML[-1]
    return [
        (f"below {first:g} ml", 0.0, first),
        *inner,
        (f"{last:g} ml and more", last, math.inf),
    ]
