"""Subgroups: scores of slices, or of exams, by subtype, geometry, scanner and size of the bleed."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from ich_tf import metrics
from ich_tf.evaluation.scores import IntervalEstimate, count_patients, estimate
from ich_tf.inference.forward import LabelledSlices
from ich_tf.inference.postprocessing.aggregation import SLICE, Scored
from ich_tf.inference.postprocessing.smoothing import rows_of
from ich_tf.labels import ANY, SUBTYPES
from ich_tf.metrics.known_labels import known_loss_of

# Borders between the groups.
_DISTANCES_MM = (2.0, 4.0, 6.0)
_EXTENTS_MM = (10.0, 25.0, 50.0)
_AREAS_MM2 = (100.0, 300.0, 1000.0)
_TILTED_DEG = 0.5


@dataclasses.dataclass(frozen=True)
class Subgroup:
    """Slices, or exams where no slice is labelled, that have something in common.

    Attributes:
      family: Property that divides the slices, such as `scanner`.
      name: Name of the group in the family.
      num_slices, num_patients: Number of slices or exams, and of patients that they belong to.
      positives: Number of slices or exams with any bleed.
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
    predictions: LabelledSlices,
    areas_mm2: Mapping[str, float] | None = None,
    *,
    exams: bool = False,
) -> dict[str, dict[str, np.ndarray]]:
    """Divides a split's slices into groups.

    Args:
      predictions: Predictions for the split's n slices.
      areas_mm2: Image id -> area of the slice's bleeds, mm2; None without masks.
      exams: Whether to divide by the labels of the exams, which tell of no bleed's extent.

    Returns:
      Family -> group -> membership of each slice, bool [n]. A slice can be in several groups of a
      family.
    """
    number = len(predictions)
    distance, extent = np.zeros(number), np.zeros(number)
    labels = metrics.hard_labels(predictions.exam_labels if exams else predictions.labels)
    bleeds = labels[:, ANY] > 0
    for rows in rows_of(predictions.series_key).values():
        z_mm = np.sort(predictions.z_mm[rows].astype(np.float64))
        step = float(np.median(np.diff(z_mm))) if len(rows) > 1 else float("nan")
        distance[rows] = step
        extent[rows] = bleeds[rows].sum() * step
    families = {
        "subtype": {name: labels[:, i] > 0 for i, name in enumerate(SUBTYPES)},
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
    if exams:
        del families["extent of the bleed along the series"]
    elif areas_mm2 is not None:
        area = np.array([areas_mm2.get(source_id, np.nan) for source_id in predictions.source_id])
        families["area of the bleed in the slice"] = {
            name: bleeds & inside for name, inside in _ranges(area, _AREAS_MM2, "mm2").items()
        }
    return families


def score_subgroups(
    predictions: LabelledSlices,
    scored: Scored,
    level: str,
    threshold: float | None,
    num_resamples: int,
    areas_mm2: Mapping[str, float] | None = None,
) -> list[Subgroup]:
    """Scores each group that holds a slice.

    Args:
      predictions: Predictions for the split's n slices.
      scored: Labels and probabilities of the level (`aggregation.at_levels`).
      level: Level that is scored, `slice` or one of series.
      threshold: Operating point of `any`; None leaves sensitivity and specificity undefined.
      num_resamples: Number of bootstrap resamples; 0 leaves the intervals undefined.
      areas_mm2: Image id -> area of the slice's bleeds, mm2; None without masks.
    """
    exams = level != SLICE
    if exams:
        labels = predictions.exam_labels
        examples = np.array([rows[0] for rows in rows_of(predictions.series_key).values()])
    else:
        labels, examples = predictions.labels, np.arange(len(predictions))
    # As in `scored`: the examples of which something is known, in their order.
    examples = examples[~np.isnan(labels[examples]).all(axis=1)]
    return [
        _score(family, name, scored, rows[examples], threshold, num_resamples)
        for family, groups in divide(predictions, areas_mm2, exams=exams).items()
        for name, rows in groups.items()
        if rows[examples].any()
    ]


def _score(
    family: str,
    name: str,
    scored: Scored,
    rows: np.ndarray,
    threshold: float | None,
    num_resamples: int,
) -> Subgroup:
    labels, probabilities = scored.labels[rows], scored.probabilities[rows]
    patients = scored.patients[rows]
    loss = known_loss_of(labels, probabilities)
    truth, prob = metrics.hard_labels(labels[:, ANY]), probabilities[:, ANY]
    known = ~np.isnan(truth)
    # Of examples whose `any` is unknown the loss alone counts, by the classes that are known.
    truth, prob = np.where(known, truth, 0), np.where(known, prob, 0.0)

    def statistics(all_weight: np.ndarray) -> np.ndarray:
        weight = all_weight * known
        undefined = np.full(len(weight), np.nan)
        sensitivity: np.ndarray | float = undefined
        specificity: np.ndarray | float = undefined
        if threshold is not None:
            decisions = metrics.confusion(truth, prob, threshold, weight)
            sensitivity, specificity = decisions.sensitivity, decisions.specificity
        return np.stack(
            [
                loss(all_weight),
                np.asarray(metrics.roc_auc(truth, prob, weight)),
                np.asarray(sensitivity),
                np.asarray(specificity),
            ],
            axis=-1,
        )

    number = len(set(patients))
    _, positive, negative = count_patients(patients[known], truth[known])
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
