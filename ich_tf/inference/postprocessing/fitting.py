"""Fit of the postprocessing: smoothing, calibration and thresholds, from predictions and labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.aggregation import Scored, at_levels
from ich_tf.inference.postprocessing.calibrators import METHODS, Calibrator, cross_validated_losses
from ich_tf.inference.postprocessing.postprocessing import POINTS, Postprocessing, Thresholds
from ich_tf.inference.postprocessing.smoothing import rows_of, smooth_logits
from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics import (
    choose_threshold,
    expected_calibration_error,
    sigmoid,
    weighted_log_loss,
)

# Standard deviations to choose from, mm. Slices are 1 to 10 mm apart; a head is some 150 mm long.
WIDTHS_MM = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0)


def fit_postprocessing(
    predictions: SlicePredictions,
    *,
    model_sha256: str,
    flip: bool = False,
    smoothing_mm: float = -1.0,
    method: str = "auto",
    splits: Sequence[str] = (),
) -> Postprocessing:
    """Fits smoothing, calibration and thresholds.

    Args:
      predictions: Labels and logits of patients that the model was not trained on.
      model_sha256: SHA-256 of the model (`Predictor.sha256`).
      flip: Whether the logits are means with those of mirror images.
      smoothing_mm: Standard deviation of the Gaussian along the series, mm; 0 for none, -1 for the
        one of `WIDTHS_MM` with the least loss.
      method: A key of `calibrators.METHODS`; `auto` for the one with the least loss.
      splits: Names of the splits of the predictions, for people.
    """
    labels = predictions.labels
    logits = predictions.logits.astype(np.float64)
    losses = _cross_validate(predictions, logits, smoothing_mm, method)
    width, chosen = min(losses, key=lambda pair: losses[pair])
    smoothed = smooth_logits(logits, predictions.z_mm, predictions.series_key, width)
    calibrator = METHODS[chosen](labels, smoothed)
    probabilities = calibrator(smoothed)
    series_calibrator = _fit_series(predictions, method)
    whole = predictions.series_logits
    levels = at_levels(
        labels,
        probabilities,
        predictions.series_key,
        predictions.patient_key,
        None if whole is None else series_calibrator(whole),
    )
    return Postprocessing(
        model_sha256=model_sha256,
        flip=flip,
        smoothing_mm=width,
        calibrator=calibrator,
        series_calibrator=series_calibrator,
        # A prevalence of 0 or 1 has odds that cannot be moved to others.
        prevalence=float(np.clip(labels[:, ANY].mean(), 1e-4, 1 - 1e-4)),
        thresholds=choose_thresholds(levels),
        fitted_on={
            "splits": list(splits),
            "num_slices": len(predictions),
            "num_patients": len(set(predictions.patient_key)),
            **_describe_losses(losses, width),
            **_compare_scores(labels, sigmoid(logits), probabilities),
        },
    )


def choose_thresholds(levels: Mapping[str, Scored]) -> Thresholds:
    """Chooses the threshold of each operating point, for each class at each level.

    Args:
      levels: Labels and probabilities by level (`aggregation.at_levels`).
    """
    return {
        level: {
            rule: {
                name: _finite(
                    choose_threshold(scored.labels[:, i], scored.probabilities[:, i], **target)
                )
                for i, name in enumerate(CLASSES)
            }
            for rule, target in POINTS.items()
        }
        for level, scored in levels.items()
    }


def _cross_validate(
    predictions: SlicePredictions, logits: np.ndarray, smoothing_mm: float, method: str
) -> dict[tuple[float, str], float]:
    """Returns (width, method) -> loss on patients that the method was not fitted on."""
    losses = {}
    for width in WIDTHS_MM if smoothing_mm < 0 else (smoothing_mm,):
        smoothed = smooth_logits(logits, predictions.z_mm, predictions.series_key, width)
        by_method = cross_validated_losses(
            predictions.labels, smoothed, predictions.patient_key, _methods(method)
        )
        losses.update({(width, name): loss for name, loss in by_method.items()})
    return losses


def _fit_series(predictions: SlicePredictions, method: str) -> Calibrator:
    """Calibrates a series model's logits of whole series; without one, the identity."""
    if predictions.series_logits is None:
        return Calibrator()
    groups = list(rows_of(predictions.series_key).values())
    labels = np.stack([predictions.labels[rows].max(axis=0) for rows in groups])
    logits = np.stack([predictions.series_logits[rows[0]] for rows in groups])
    patients = [predictions.patient_key[rows[0]] for rows in groups]
    losses = cross_validated_losses(labels, logits, patients, _methods(method))
    return METHODS[min(losses, key=lambda name: losses[name])](labels, logits)


def _methods(method: str) -> tuple[str, ...]:
    return tuple(METHODS) if method == "auto" else (method,)


def _describe_losses(losses: Mapping[tuple[float, str], float], width: float) -> dict[str, Any]:
    """Losses of the methods at the chosen width, and the least loss of each width, for people."""
    return {
        "losses": {name: round(loss, 6) for (mm, name), loss in losses.items() if mm == width},
        "losses_by_smoothing_mm": {
            f"{mm:g}": round(min(loss for (other, _), loss in losses.items() if other == mm), 6)
            for mm, _ in losses
        },
    }


def _compare_scores(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Loss and calibration error of the probabilities before and after the postprocessing."""
    errors = [
        float(expected_calibration_error(labels[:, ANY], probabilities[:, ANY]))
        for probabilities in (before, after)
    ]
    return {
        "loss_before": weighted_log_loss(labels, before),
        "loss_after": weighted_log_loss(labels, after),
        "ece_before": errors[0],
        "ece_after": errors[1],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
