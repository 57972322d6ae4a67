"""Metrics of the RSNA 2019 challenge, of diagnostic tests and of masks, for any project to import.

The functions compute in float64 and need NumPy alone; those of surfaces, lesions and paired
differences import SciPy when they are called. `WeightedLogLoss`, the challenge's loss as a
streaming Keras metric, imports Keras at its first use: Keras 3 (`metrics.keras3`, on any backend)
if the project uses it, else Keras 2 (`metrics.keras2`: tf.keras up to TensorFlow 2.15, or tf-keras
with TF_USE_LEGACY_KERAS=1). Both modules also have `weighted_log_loss` as a function for
`compile(metrics=[...])`. The six columns of labels and probabilities are in the order of
`ich_tf.labels.CLASSES`: epidural, intraparenchymal, intraventricular, subarachnoid, subdural, any.

A value that is not defined, such as the area under the curve of a class without positives, is NaN.
"""

from __future__ import annotations

import importlib
import os
from importlib import metadata
from typing import Any

from ich_tf.metrics.bootstrap import Interval, bootstrap_interval
from ich_tf.metrics.calibration_error import (
    brier_score,
    expected_calibration_error,
    reliability_curve,
)
from ich_tf.metrics.known_labels import (
    hard_labels,
    known_log_loss,
    known_per_class_log_loss,
    known_shares,
    soft_log_loss,
)
from ich_tf.metrics.lesions import LesionMatches, match_lesions
from ich_tf.metrics.log_loss import (
    EPSILON,
    constant_predictor,
    logit,
    per_class_log_loss,
    per_image_log_loss,
    sigmoid,
    weighted_log_loss,
)
from ich_tf.metrics.mask_scores import MaskScores, score_series, score_slices
from ich_tf.metrics.mask_summary import Estimate, summarize_masks
from ich_tf.metrics.mask_threshold import choose_mask_threshold, volumes_at
from ich_tf.metrics.net_benefit import net_benefit, net_benefit_of_all
from ich_tf.metrics.operating_points import (
    Confusion,
    choose_threshold,
    confusion,
    predictive_values,
)
from ich_tf.metrics.overlap import dice, iou
from ich_tf.metrics.paired_bootstrap import PairedDifference, paired_bootstrap
from ich_tf.metrics.ranking import average_precision, precision_recall_curve, roc_auc, roc_curve
from ich_tf.metrics.risk_control import (
    ControlledThreshold,
    allowed_errors,
    control_false_alarms,
    control_misses,
    highest_rate,
    least_patients,
)
from ich_tf.metrics.risk_coverage import area_under_risk_coverage, risk_coverage_curve
from ich_tf.metrics.surface_distance import (
    SurfaceDistances,
    hausdorff_distance,
    surface_dice,
    surface_distances,
)
from ich_tf.metrics.volumes import BlandAltman, bland_altman, volume_ml

__all__ = [
    "EPSILON",
    "BlandAltman",
    "Confusion",
    "ControlledThreshold",
    "Estimate",
    "Interval",
    "LesionMatches",
    "MaskScores",
    "PairedDifference",
    "SurfaceDistances",
    "WeightedLogLoss",
    "allowed_errors",
    "area_under_risk_coverage",
    "average_precision",
    "bland_altman",
    "bootstrap_interval",
    "brier_score",
    "choose_mask_threshold",
    "choose_threshold",
    "confusion",
    "constant_predictor",
    "control_false_alarms",
    "control_misses",
    "dice",
    "expected_calibration_error",
    "hard_labels",
    "hausdorff_distance",
    "highest_rate",
    "iou",
    "known_log_loss",
    "known_per_class_log_loss",
    "known_shares",
    "least_patients",
    "logit",
    "match_lesions",
    "net_benefit",
    "net_benefit_of_all",
    "paired_bootstrap",
    "per_class_log_loss",
    "per_image_log_loss",
    "precision_recall_curve",
    "predictive_values",
    "reliability_curve",
    "risk_coverage_curve",
    "roc_auc",
    "roc_curve",
    "score_series",
    "score_slices",
    "sigmoid",
    "soft_log_loss",
    "summarize_masks",
    "surface_dice",
    "surface_distances",
    "volume_ml",
    "volumes_at",
    "weighted_log_loss",
]


def __getattr__(name: str) -> Any:
    if name != "WeightedLogLoss":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "keras3" if _is_keras_3() else "keras2"
    return importlib.import_module(f"ich_tf.metrics.{module}").WeightedLogLoss


def _is_keras_3() -> bool:
    """Whether the installed Keras, which is also `tf.keras`, is Keras 3."""
    if os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true"):
        return False
    try:
        release = metadata.version("keras")
    except metadata.PackageNotFoundError:
        return False
    return int(release.split(".")[0]) >= 3
