"""Fit of the postprocessing: smoothing, calibration and thresholds, from predictions and labels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.abstention import AbstentionTarget, fit_abstention
from ich_tf.inference.postprocessing.aggregation import Scored, at_levels
from ich_tf.inference.postprocessing.calibrators import METHODS, Calibrator, cross_validated_losses
from ich_tf.inference.postprocessing.postprocessing import (
    POINTS,
    Group,
    Postprocessing,
    Thresholds,
)
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
_FITTED = ("labels", "logits")
# Methods that fit each class for itself.
_BY_CLASS = ("platt", "isotonic")


def fit_postprocessing(
    parts: Sequence[SlicePredictions],
    *,
    model_sha256: str,
    members: Sequence[Sequence[str]] = ((),),
    shares: Sequence[float] = (1.0,),
    flip: bool = False,
    smoothing_mm: float = -1.0,
    method: str = "auto",
    splits: Sequence[str] = (),
    abstain: AbstentionTarget | None = None,
) -> Postprocessing:
    """Fits smoothing, calibration and thresholds.

    Width and method are the same for all groups of members; the calibrators are not.

    Args:
      parts: Labels and logits of each group of members, of patients whom it was not trained on.
      model_sha256: SHA-256 of the model (`Predictor.sha256`).
      members: SHA-256 of the weights of each group; empty for all members.
      shares: Share of each group in the mean of probabilities, of sum 1.
      flip: Whether the logits are means with those of mirror images.
      smoothing_mm: Standard deviation of the Gaussian along the series, mm; 0 for none, -1 for the
        one of `WIDTHS_MM` with the least loss.
      method: A key of `calibrators.METHODS`; `auto` for the one with the least loss.
      splits: Names of the splits of the predictions, for people.
      abstain: What abstention is to promise; None for no abstention.
    """
    slices = [_Fold(part.labels, part.logits, part.patient_key) for part in parts]
    by_width = {}
    losses: dict[tuple[float, str], float] = {}
    for width in WIDTHS_MM if smoothing_mm < 0 else (smoothing_mm,):
        by_width[width] = [
            fold.with_logits(smooth_logits(fold.logits, part.z_mm, part.series_key, width))
            for fold, part in zip(slices, parts, strict=True)
        ]
        by_method = _losses(by_width[width], method)
        losses.update({(width, name): loss for name, loss in by_method.items()})
    width, chosen = min(losses, key=lambda pair: losses[pair])
    smoothed = by_width[width]
    calibrators = _fit(smoothed, chosen)
    probabilities = np.concatenate(
        [fit(fold.logits) for fit, fold in zip(calibrators, smoothed, strict=True)]
    )
    series_calibrators = _fit_series(parts, method)
    joined = SlicePredictions.concatenate(parts)
    levels = at_levels(
        joined.labels,
        probabilities,
        joined.series_key,
        joined.patient_key,
        _apply_series(series_calibrators, parts),
        joined.exam_labels,
    )
    thresholds = choose_thresholds(levels)
    return Postprocessing(
        model_sha256=model_sha256,
        flip=flip,
        smoothing_mm=width,
        groups=tuple(
            Group(calibrator, series_calibrator, tuple(hashes), float(share))
            for calibrator, series_calibrator, hashes, share in zip(
                calibrators, series_calibrators, members, shares, strict=True
            )
        ),
        # A prevalence of 0 or 1 has odds that cannot be moved to others.
        prevalence=float(np.clip(joined.labels[:, ANY].mean(), 1e-4, 1 - 1e-4)),
        thresholds=thresholds,
        abstention=fit_abstention(levels, thresholds, abstain),
        fitted_on={
            "splits": list(splits),
            "num_slices": len(joined),
            "num_patients": len(set(joined.patient_key)),
            **_describe_losses(losses, width),
            **compare_scores(joined.labels, sigmoid(joined.logits), probabilities),
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


@dataclasses.dataclass(frozen=True, eq=False)
class _Fold:
    """Slices or series that one group of members was not trained on.

    Attributes:
      labels: [n, 6], 0 or 1.
      logits: [n, 6].
      patients: Patient of each, [n].
    """

    labels: np.ndarray
    logits: np.ndarray
    patients: Sequence[str]

    def with_logits(self, logits: np.ndarray) -> _Fold:
        return dataclasses.replace(self, logits=logits)


def _losses(folds: Sequence[_Fold], method: str) -> dict[str, float]:
    """Returns method -> loss on patients that it was not fitted on, over all folds.

    Folds of a single patient, who cannot be held out, do not count where others can.
    """
    folds = [fold for fold in folds if len(set(fold.patients)) > 1] or folds
    numbers = [len(fold.labels) for fold in folds]
    methods = () if method == "auto" else (method,)
    by_fold = [
        cross_validated_losses(fold.labels, fold.logits, fold.patients, methods) for fold in folds
    ]
    return {
        name: float(np.average([losses[name] for losses in by_fold], weights=numbers))
        for name in by_fold[0]
    }


def _fit(folds: Sequence[_Fold], method: str) -> list[Calibrator]:
    """Fits a calibrator to each fold.

    A class that a fold lacks, or that all of its slices show, is fitted to all folds together.
    """
    fit = METHODS[method]
    calibrators = [fit(fold.labels, fold.logits) for fold in folds]
    if len(folds) == 1 or method not in _BY_CLASS:
        return calibrators
    whole = fit(*(np.concatenate([getattr(f, name) for f in folds]) for name in _FITTED))
    return [
        calibrator.with_classes_of(whole, np.flatnonzero(np.ptp(fold.labels, axis=0) == 0).tolist())
        for calibrator, fold in zip(calibrators, folds, strict=True)
    ]


def _fit_series(parts: Sequence[SlicePredictions], method: str) -> list[Calibrator]:
    """Calibrates a series model's logits of whole series; without one, the identity."""
    folds = []
    for part in parts:
        if part.series_logits is None:
            return [Calibrator()] * len(parts)
        (whole,) = part.series_logits
        groups = list(rows_of(part.series_key).values())
        folds.append(
            _Fold(
                np.stack([part.labels[rows].max(axis=0) for rows in groups]),
                np.stack([whole[rows[0]] for rows in groups]),
                [part.patient_key[rows[0]] for rows in groups],
            )
        )
    losses = _losses(folds, method)
    return _fit(folds, min(losses, key=lambda name: losses[name]))


def _apply_series(
    calibrators: Sequence[Calibrator], parts: Sequence[SlicePredictions]
) -> np.ndarray | None:
    """Probabilities of each slice's series, [n, 6]; None without a series model."""
    whole = [
        calibrator(part.series_logits[0])
        for calibrator, part in zip(calibrators, parts, strict=True)
        if part.series_logits is not None
    ]
    return np.concatenate(whole) if whole else None


def _describe_losses(losses: Mapping[tuple[float, str], float], width: float) -> dict[str, Any]:
    """Losses of the methods at the chosen width, and the least loss of each width, for people."""
    return {
        "losses": {name: round(loss, 6) for (mm, name), loss in losses.items() if mm == width},
        "losses_by_smoothing_mm": {
            f"{mm:g}": round(min(loss for (other, _), loss in losses.items() if other == mm), 6)
            for mm, _ in losses
        },
    }


def compare_scores(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
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
