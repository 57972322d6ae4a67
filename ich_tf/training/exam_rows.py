"""Rows that a model over series is validated by where exams have labels: the exams."""

from __future__ import annotations

import numpy as np

from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.smoothing import rows_of


def exam_rows(predictions: SlicePredictions) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits of exams, or of slices where no exam's label is known.

    Args:
      predictions: Predictions of all slices of some series, with those of the series.

    Returns:
      Labels in [0, 1], or NaN where unknown, and logits, [m, 6] each.
    """
    if np.isnan(predictions.exam_labels).all():
        return predictions.labels, predictions.logits
    assert predictions.series_logits is not None, "a model over series gives them"
    first = [rows[0] for rows in rows_of(predictions.series_key).values()]
    return predictions.exam_labels[first], predictions.series_logits[0, first]
