"""The level of an evaluation's main scores: slices, or exams where no slice is labelled."""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.aggregation import (
    SERIES_MAX,
    SERIES_MODEL,
    SLICE,
    Scored,
    at_levels,
    of_known,
)
from ich_tf.metrics import sigmoid

# What the examples of a level are called, in reports.
NOUNS = {SLICE: "slices", SERIES_MODEL: "exams", SERIES_MAX: "exams"}


def main_level(levels: Container[str]) -> str:
    """The level whose scores come first: slices where there are labelled ones, else exams."""
    for level in (SLICE, SERIES_MODEL):
        if level in levels:
            return level
    return SERIES_MAX


def before_postprocessing(predictions: SlicePredictions, level: str) -> Scored:
    """Labels and probabilities of a level by the networks' own logits, without postprocessing.

    Args:
      predictions: Predictions for a split.
      level: Level of `main_level`.
    """
    probabilities = sigmoid(predictions.logits)
    if level == SLICE:
        patients = np.asarray(predictions.patient_key)
        return of_known(Scored(predictions.labels, probabilities, patients))
    whole = None
    if predictions.series_logits is not None:
        whole = sigmoid(predictions.series_logits).mean(axis=0)
    levels = at_levels(
        predictions.labels,
        probabilities,
        predictions.series_key,
        predictions.patient_key,
        whole,
        predictions.exam_labels,
    )
    return levels[level]
