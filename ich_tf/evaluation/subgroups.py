"""Subgroups: scores of slices by subtype, geometry, scanner and size of the bleed."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from ich_tf import metrics
from ich_tf.evaluation.scores import IntervalEstimate, count_patients, estimate
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.smoothing import rows_of
from ich_tf.labels import ANY, SUBTYPES

# Borders between the groups.
_DISTANCES_MM = (2.0, 4.0, 6.0)
_EXTENTS_MM = (10.0, 25.0, 50.0)
_AREAS_MM2 = (100.0, 300.0, 1000.0)
_TILTED_DEG = 0.5


@dataclasses.dataclass(frozen=True)
class Subgroup:
    """Slices that have something in common.

    Attributes:
      family: Property that divides the slices, such as `scanner`.
      name: Name of the group in the family.
      num_slices, num_patients: Number of slices, and of patients that they belong to.
      positives: Number of slices with any bleed.
      weighted_log_loss: Weighted multi-label log loss of the group.
      roc_auc: Area under the ROC curve of `any`; not defined if all slices bleed.
      sensitivity, specificity: Shares for `any` at the operating point, 0 to 1.
    """

    family: str
    name: str
    num_slices: int
    num_patients: int
    positives: int
    weighted_log_loss: IntervalEstimate
    roc_auc: IntervalEstimate
    sensitivity: IntervalEstimate
    specificity: IntervalEstimate


def divide(
    predictions: SlicePredictions, areas_mm2: Mapping[str, float] | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """Divides a split's slices into groups.

    Args:
      predictions: Predictions for the split's n slices.
      areas_mm2: Image id -> area of the slice's bleeds, mm2; None without masks.

    Returns:
      Family -> group -> membership of each slice, bool [n]. A slice can be in several groups of a
      family.
    """
    number = len(predictions)
    distance, extent = np.zeros(number), np.zeros(number)
    bleeds = predictions.labels[:, ANY] > 0
    for rows in rows_of(predictions.series_key).values():
        z_mm = np.sort(predictions.z_mm[rows].astype(np.float64))
        step = float(np.median(np.diff(z_mm))) if len(rows) > 1 else float("nan")
        distance[rows] = step
        extent[rows] = bleeds[rows].sum() * step
    families = {
        "subtype": {name: predictions.labels[:, i] > 0 for i, name in enumerate(SUBTYPES)},
        "extent of the bleed along the series": {
            name: bleeds & inside for name, inside in _ranges(extent, _EXTENTS_MM, "mm").items()
        },
        "distance between slices": _ranges(distance, _DISTANCES_MM, "mm"),
        "gantry": {
            "tilted": np.abs(predictions.gantry_tilt_deg) > _TILTED_DEG,
            "upright": np.abs(predictions.gantry_tilt_deg) <= _TILTED_DEG,
        },
        "scanner": {
            name: np.isin(predictions.scanner, name) for name in sorted(set(predictions.scanner))
        },
    }
    if areas_mm2 is not None:
        area = np.array([areas_mm2.get(source_id, np.nan) for source_id in predictions.source_id])
        families["area of the bleed in the slice"] = {
            name: bleeds & inside for name, inside in _ranges(area, _AREAS_MM2, "mm2").items()
        }
    return families


def score_subgroups(
    predictions: SlicePredictions,
    probabilities: np.ndarray,
    threshold: float | None,
    num_resamples: int,
    areas_mm2: Mapping[str, float] | None = None,
) -> list[Subgroup]:
    """Scores each group that holds a slice.

    Args:
      predictions: Predictions for the split's n slices.
      probabilities: Probabilities of the slices, [n, 6].
      threshold: Operating point of `any`; None leaves sensitivity and specificity undefined.
      num_resamples: Number of bootstrap resamples; 0 leaves the intervals undefined.
      areas_mm2: Image id -> area of the slice's bleeds, mm2; None without masks.
    """
    patients = np.asarray(predictions.patient_key)
    return [
        _score(
            family,
            name,
            predictions.labels,
            probabilities,
            patients,
            rows,
            threshold,
            num_resamples,
        )
        for family, groups in divide(predictions, areas_mm2).items()
        for name, rows in groups.items()
        if rows.any()
    ]


def _score(
    family: str,
    name: str,
    labels: np.ndarray,
    probabilities: np.ndarray,
    patients: np.ndarray,
    rows: np.ndarray,
    threshold: float | None,
    num_resamples: int,
) -> Subgroup:
    labels, probabilities, patients = labels[rows], probabilities[rows], patients[rows]
    per_image = metrics.per_image_log_loss(labels, probabilities)
    truth, prob = labels[:, ANY], probabilities[:, ANY]

    def statistics(weight: np.ndarray) -> np.ndarray:
        undefined = np.full(len(weight), np.nan)
        sensitivity: np.ndarray | float = undefined
        specificity: np.ndarray | float = undefined
        if threshold is not None:
            decisions = metrics.confusion(truth, prob, threshold, weight)
            sensitivity, specificity = decisions.sensitivity, decisions.specificity
        return np.stack(
            [
                weight @ per_image / weight.sum(axis=-1),
                np.asarray(metrics.roc_auc(truth, prob, weight)),
                np.asarray(sensitivity),
                np.asarray(specificity),
            ],
            axis=-1,
        )

    number, positive, negative = count_patients(patients, truth)
    return Subgroup(
        family,
        name,
        len(labels),
        number,
        int(truth.sum()),
        *estimate(
            statistics,
            patients,
            num_resamples,
            [number, min(positive, negative), positive, negative],
        ),
    )


def _ranges(values: np.ndarray, borders: Sequence[float], unit: str) -> dict[str, np.ndarray]:
    """Groups of values below, between and above borders; NaN is in none of them."""
    groups = {f"below {borders[0]:g} {unit}": values < borders[0]}
    for low, high in itertools.pairwise(borders):
        groups[f"{low:g} to {high:g} {unit}"] = (values >= low) & (values < high)
    groups[f"{borders[-1]:g} {unit} and more"] = values >= borders[-1]
    return groups
