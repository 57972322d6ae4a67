"""Metrics of the RSNA 2019 challenge and of diagnostic tests, for any project to import.

All is NumPy in float64; `WeightedLogLoss`, the challenge's loss as a streaming Keras metric, loads
TensorFlow when it is first asked for. Where six columns are asked for, they are in the order of
`ich_tf.labels.CLASSES`: epidural, intraparenchymal, intraventricular, subarachnoid, subdural, any.

What is not defined, such as the area under the curve of a class without positives, is NaN.
"""

from __future__ import annotations

from typing import Any

from ich_tf.metrics.bootstrap import Interval as Interval
from ich_tf.metrics.bootstrap import bootstrap_interval as bootstrap_interval
from ich_tf.metrics.calibration_error import brier_score as brier_score
from ich_tf.metrics.calibration_error import (
    expected_calibration_error as expected_calibration_error,
)
from ich_tf.metrics.calibration_error import reliability_curve as reliability_curve
from ich_tf.metrics.log_loss import EPSILON as EPSILON
from ich_tf.metrics.log_loss import constant_predictor as constant_predictor
from ich_tf.metrics.log_loss import logit as logit
from ich_tf.metrics.log_loss import per_class_log_loss as per_class_log_loss
from ich_tf.metrics.log_loss import per_image_log_loss as per_image_log_loss
from ich_tf.metrics.log_loss import sigmoid as sigmoid
from ich_tf.metrics.log_loss import weighted_log_loss as weighted_log_loss
from ich_tf.metrics.operating_points import Confusion as Confusion
from ich_tf.metrics.operating_points import choose_threshold as choose_threshold
from ich_tf.metrics.operating_points import confusion as confusion
from ich_tf.metrics.operating_points import predictive_values as predictive_values
from ich_tf.metrics.ranking import average_precision as average_precision
from ich_tf.metrics.ranking import precision_recall_curve as precision_recall_curve
from ich_tf.metrics.ranking import roc_auc as roc_auc
from ich_tf.metrics.ranking import roc_curve as roc_curve


def __getattr__(name: str) -> Any:
    if name != "WeightedLogLoss":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ich_tf.metrics.keras_metric import WeightedLogLoss

    return WeightedLogLoss
