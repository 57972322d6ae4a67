"""Fit of the error of a model's volumes, on validation series whose masks are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ich_tf.inference.masks.class_volumes import ClassVolumes
from ich_tf.inference.masks.threshold_fitting import threshold_index
from ich_tf.inference.postprocessing.volume_error import COVERAGE, LEAST_ML, VolumeError

# Of nine errors the greatest is the one that nine in ten new ones do not exceed.
LEAST_PATIENTS = 9
# Few, since the choice is made on the same series: of simulated ones, seven cost a hundredth.
_OFFSETS_ML = (1.0, 10.0, 100.0)
_NUM_FOLDS = 10


def fit_volume_error(volumes: ClassVolumes) -> tuple[VolumeError | None, dict[str, Any]]:
    """Fits the error of the volumes of a class.

    Series count in which the class is annotated in all slices, and pixels of it are predicted at
    the class's threshold. They need not have a bleed of the class.

    Args:
      volumes: Volumes of validation series.

    Returns:
      The error, None if there are less than `LEAST_PATIENTS` patients with such series. And the
      numbers of these series and of those with a bleed of the class without a predicted pixel,
      `num_series` and `num_missed`; with an error also its attributes, and `coverage`, the share of
      `num_checked` series that an interval holds whose threshold and error were fitted on other
      patients.
    """
    whole = volumes.select(volumes.is_whole)
    predicted = whole.predicted[:, threshold_index(volumes)]
    marked = predicted >= LEAST_ML
    told: dict[str, Any] = {
        "num_series": int(marked.sum()),
        "num_missed": int((~marked & (whole.true > 0)).sum()),
    }
    error = _fit(predicted[marked], whole.true[marked], whole.patients[marked])
    if error is None:
        return None, told
    coverage, num_checked = _held_out_coverage(volumes)
    told.update(vars(error), coverage=coverage, num_checked=num_checked)
    return error, told


def _fit(predicted: np.ndarray, true: np.ndarray, patients: np.ndarray) -> VolumeError | None:
    """Error whose intervals hold the true volumes; of all offsets, that of the least intervals."""
    number = len(true)
    rank = math.ceil((number + 1) * COVERAGE)
    if len(set(patients)) < LEAST_PATIENTS or rank > number:
        return None
    best, least = None, math.inf
    for offset in _OFFSETS_ML:
        errors = np.sort(np.abs(np.log(true + offset) - np.log(predicted + offset)))
        error = VolumeError(offset, float(errors[rank - 1]))
        low, high = error.ends(predicted)
        if (width := float((high - low).mean())) < least:
            best, least = error, width
    return best


def _held_out_coverage(volumes: ClassVolumes) -> tuple[float | None, int]:
    """Share of series within intervals of other patients, and their number.

    The share is None, and the number 0, if too few patients are left for any interval.
    """
    keys = sorted(set(volumes.patients))
    fold_of = {key: number % _NUM_FOLDS for number, key in enumerate(keys)}
    folds = np.array([fold_of[key] for key in volumes.patients])
    held, total = 0, 0
    for fold in range(_NUM_FOLDS):
        others = volumes.select(folds != fold)
        at = threshold_index(others)
        whole = others.select(others.is_whole & (others.predicted[:, at] >= LEAST_ML))
        error = _fit(whole.predicted[:, at], whole.true, whole.patients)
        if error is None:
            continue
        tested = volumes.select((folds == fold) & volumes.is_whole)
        for ml, true in zip(tested.predicted[:, at], tested.true, strict=True):
            low, high = error.interval(ml)
            if not math.isnan(low):
                total += 1
                held += low <= true <= high
    return (held / total if total else None), total
