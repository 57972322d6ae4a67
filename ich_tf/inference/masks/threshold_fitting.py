"""Thresholds of masks: of each class the one at which volumes are right on average.

They are chosen on validation series that have a bleed of the class, and on those of their slices in
which the class is annotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ich_tf.inference.masks.class_volumes import THRESHOLDS, ClassVolumes
from ich_tf.inference.masks.mask_network import DEFAULT_THRESHOLD
from ich_tf.labels import CLASSES
from ich_tf.metrics import choose_mask_threshold

# With fewer series the threshold stays what it was.
LEAST_SERIES = 5
_MIDDLE = int(np.argmin(np.abs(THRESHOLDS - DEFAULT_THRESHOLD)))


def fit_thresholds(
    volumes: Sequence[ClassVolumes],
) -> tuple[tuple[float, ...], dict[str, dict[str, Any]]]:
    """Chooses the threshold of least volume bias for each class.

    Args:
      volumes: Volumes of each class.

    Returns:
      Threshold of each class; and by class the number of series with a bleed of it and the bias in
      ml before, at 0.5, and after, and the number of series without one and the mean volume that is
      falsely marked there, before and after.
    """
    thresholds, told = [], {}
    for name, of_class in zip(CLASSES, volumes, strict=True):
        chosen = threshold_index(of_class)
        thresholds.append(float(THRESHOLDS[chosen]))
        bleeds = of_class.select(of_class.true > 0)
        if len(bleeds.true):
            bias = (bleeds.predicted - bleeds.true[:, None]).mean(axis=0)
            told[name] = {
                "num_series": len(bleeds.true),
                "mean_ml": float(bleeds.true.mean()),
                "bias_ml_before": float(bias[_MIDDLE]),
                "bias_ml_after": float(bias[chosen]),
            }
            without = of_class.select((of_class.true == 0) & of_class.is_whole)
            if len(without.true):
                false_ml = without.predicted.mean(axis=0)
                told[name].update(
                    num_without=len(without.true),
                    false_ml_before=float(false_ml[_MIDDLE]),
                    false_ml_after=float(false_ml[chosen]),
                )
    return tuple(thresholds), told


def threshold_index(volumes: ClassVolumes) -> int:
    """Index in `THRESHOLDS` of a class's threshold; that of 0.5 with too few series with bleeds."""
    bleeds = volumes.select(volumes.true > 0)
    if len(bleeds.true) < LEAST_SERIES:
        return _MIDDLE
    threshold = choose_mask_threshold(THRESHOLDS, bleeds.predicted, bleeds.true)
    return int(np.argmin(np.abs(THRESHOLDS - threshold)))
