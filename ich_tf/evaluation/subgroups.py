"""Where a model is better or worse: scores of slices by what is known of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from ich_tf import metrics
from ich_tf.evaluation.scores import Estimate, estimate
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.smoothing import rows_of
from ich_tf.labels import ANY, SUBTYPES

# Upper ends, and what is above the last.
_DISTANCES_MM = (2.0, 4.0, 6.0)
_EXTENTS_MM = (10.0, 25.0, 50.0)
_AREAS_MM2 = (100.0, 300.0, 1000.0)
_TILTED_DEG = 0.5


@dataclasses.dataclass(frozen=True)
class Subgroup:
    """Slices that have something in common.

    Attributes:
      family: What divides the slices, as `scanner`.
      name: Of the group within it.
      num_slices, num_patients: In it.
      positives: Slices with any bleed.
      weighted_log_loss: Of the group.
      roc_auc: Of any; not defined where all slices bleed.
      sensitivity, specificity: Of any, at the operating point.
    """

    family: str
    name: str
    num_slices: int
    num_patients: int
    positives: int
    weighted_log_loss: Estimate
    roc_auc: Estimate
    sensitivity: Estimate
    specificity: Estimate


def divide(
    predictions: SlicePredictions, areas_mm2: Mapping[str, float] | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """The groups of a split's slices.

    Args:
      predictions: Of the split.
      areas_mm2: Slice -> area of its bleeds, where masks are known.

    Returns:
      Family -> group -> bool [n]. A slice may be in several groups of a family.
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
        area = np.array([areas_mm2.get(one, np.nan) for one in predictions.source_id])
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
      predictions: Of the split.
      probabilities: [n, 6].
      threshold: Of any's operating point; None leaves decisions undefined.
      num_resamples: Of the bootstrap.
      areas_mm2: As of `divide`.
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
            found = metrics.confusion(truth, prob, threshold, weight)
            sensitivity, specificity = found.sensitivity, found.specificity
        return np.stack(
            [
                weight @ per_image / weight.sum(axis=-1),
                np.asarray(metrics.roc_auc(truth, prob, weight)),
                np.asarray(sensitivity),
                np.asarray(specificity),
            ],
            axis=-1,
        )

    return Subgroup(
        family,
        name,
        len(labels),
        len(set(patients)),
        int(truth.sum()),
        *estimate(statistics, patients, num_resamples),
    )


def _ranges(values: np.ndarray, ends: Sequence[float], unit: str) -> dict[str, np.ndarray]:
    """Where values lie below, between and above ends; NaN lies nowhere."""
    found = {f"below {ends[0]:g} {unit}": values < ends[0]}
    for low, high in itertools.pairwise(ends):
        found[f"{low:g} to {high:g} {unit}"] = (values >= low) & (values < high)
    found[f"{ends[-1]:g} {unit} and more"] = values >= ends[-1]
    return found
