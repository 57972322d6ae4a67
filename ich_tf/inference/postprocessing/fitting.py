"""Fit of the postprocessing: smoothing, calibration and thresholds, from predictions and labels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.abstention import AbstentionTarget, fit_abstention
from ich_tf.inference.postprocessing.aggregation import Scored, at_levels, of_known
from ich_tf.inference.postprocessing.calibrators import METHODS, Calibrator, cross_validated_losses
from ich_tf.inference.postprocessing.exam_level import exam_level, known_examples
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
    known_log_loss,
    sigmoid,
)
from ich_tf.metrics.known_labels import all_hard

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

    Slices of a class that no slice is labelled for, or that all labelled slices show or lack, are
    calibrated as exams are. Where no slice is labelled they are not smoothed unless asked to: exams
    do not tell which width is right.

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
    joined = SlicePredictions.concatenate(parts)
    weak = _weak_classes(joined)
    if np.isnan(joined.labels).all():
        width = max(smoothing_mm, 0.0)
        by_method = _losses(_exam_folds(parts, width), method)
        losses = {(width, name): loss for name, loss in by_method.items()}
    else:
        losses = _losses_of_slices(parts, smoothing_mm, method)
    width, chosen = min(losses, key=lambda pair: losses[pair])
    smoothed = [smooth_logits(part.logits, part.z_mm, part.series_key, width) for part in parts]
    calibrators = _fit(
        [
            _Fold(part.labels, logits, part.patient_key)
            for part, logits in zip(parts, smoothed, strict=True)
        ],
        chosen,
    )
    if weak:
        as_exams = _fit_exams(_exam_folds(parts, width), method)
        calibrators = [
            calibrator.with_classes_of(as_exam, weak)
            for calibrator, as_exam in zip(calibrators, as_exams, strict=True)
        ]
    probabilities = np.concatenate(
        [fit(logits) for fit, logits in zip(calibrators, smoothed, strict=True)]
    )
    series_calibrators = _fit_series(parts, method)
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
        prevalence=float(np.clip(_prevalence(joined.labels, probabilities), 1e-4, 1 - 1e-4)),
        thresholds=thresholds,
        abstention=fit_abstention(levels, thresholds, abstain),
        fitted_on={
            "splits": list(splits),
            "num_slices": len(joined),
            "num_patients": len(set(joined.patient_key)),
            **_describe_losses(losses, width),
            **_compare(joined, probabilities, levels),
            **describe_labels(joined),
            **_describe_weak(joined, weak),
        },
    )


def mixed_examples(joined: SlicePredictions) -> Scored:
    """What the shares of several models are fitted to: labelled slices, or exams without any."""
    probabilities = sigmoid(joined.logits)
    if not np.isnan(joined.labels).all():
        return of_known(Scored(joined.labels, probabilities, np.asarray(joined.patient_key)))
    whole = None if joined.series_logits is None else sigmoid(joined.series_logits[0])
    levels = at_levels(
        joined.labels, probabilities, joined.series_key, joined.patient_key, whole,
        joined.exam_labels,
    )  # fmt: skip
    return levels[exam_level(levels)]


def choose_thresholds(levels: Mapping[str, Scored]) -> Thresholds:
    """Chooses the threshold of each operating point, for each class at each level.

    Args:
      levels: Labels and probabilities by level (`aggregation.at_levels`).
    """
    return {
        level: {
            rule: {
                name: _finite(choose_threshold(truth, prob, **target) if len(truth) else math.nan)
                for name, (truth, prob, _) in zip(CLASSES, by_class, strict=True)
            }
            for rule, target in POINTS.items()
        }
        for level, scored in levels.items()
        for by_class in [[known_examples(scored, i) for i in range(len(CLASSES))]]
    }


@dataclasses.dataclass(frozen=True, eq=False)
class _Fold:
    """Slices or series that one group of members was not trained on.

    Attributes:
      labels: [n, 6], in [0, 1] or NaN.
      logits: [n, 6].
      patients: Patient of each, [n].
    """

    labels: np.ndarray
    logits: np.ndarray
    patients: Sequence[str]

    def known(self) -> _Fold:
        """Those of which something is known; the same object if all are."""
        rows = np.flatnonzero(~np.isnan(self.labels).all(axis=1))
        if len(rows) == len(self.labels):
            return self
        patients = [self.patients[row] for row in rows.tolist()]
        return _Fold(self.labels[rows], self.logits[rows], patients)


def _losses(folds: Sequence[_Fold], method: str) -> dict[str, float]:
    """Returns method -> loss on patients that it was not fitted on, over all folds.

    Folds of a single patient, who cannot be held out, do not count where others can.
    """
    known = [fold for fold in (fold.known() for fold in folds) if len(fold.labels)]
    folds = [fold for fold in known if len(set(fold.patients)) > 1] or known
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
    folds = [fold.known() for fold in folds]
    calibrators = [fit(fold.labels, fold.logits) for fold in folds]
    by_class = method in _BY_CLASS
    if len(folds) == 1 or not (by_class or any(not len(fold.labels) for fold in folds)):
        return calibrators
    whole = fit(*(np.concatenate([getattr(f, name) for f in folds]) for name in _FITTED))
    return [
        calibrator.with_classes_of(
            whole, _constant_classes(fold.labels) if by_class or not len(fold.labels) else []
        )
        for calibrator, fold in zip(calibrators, folds, strict=True)
    ]


def _constant_classes(labels: np.ndarray) -> list[int]:
    """Classes whose known labels, of [n, 6], are all alike, or of which none is known."""
    return [i for i, column in enumerate(labels.T) if len(np.unique(column[~np.isnan(column)])) < 2]


def _losses_of_slices(
    parts: Sequence[SlicePredictions], smoothing_mm: float, method: str
) -> dict[tuple[float, str], float]:
    """Width and method -> loss of slices; the arguments are those of `fit_postprocessing`."""
    losses = {}
    for width in WIDTHS_MM if smoothing_mm < 0 else (smoothing_mm,):
        folds = [
            _Fold(
                part.labels,
                smooth_logits(part.logits, part.z_mm, part.series_key, width),
                part.patient_key,
            )
            for part in parts
        ]
        by_method = _losses(folds, method)
        losses.update({(width, name): loss for name, loss in by_method.items()})
    return losses


def _exam_folds(parts: Sequence[SlicePredictions], width: float = 0.0) -> list[_Fold]:
    """Exams by the logits of a series model; without one, by the greatest of their slices'.

    Args:
      parts: As for `fit_postprocessing`.
      width: Standard deviation of the Gaussian that slices are smoothed by, mm.
    """
    folds = []
    for part in parts:
        groups = list(rows_of(part.series_key).values())
        first = [rows[0] for rows in groups]
        if part.series_logits is not None:
            (whole,) = part.series_logits
            logits = whole[first]
        else:
            smoothed = smooth_logits(part.logits, part.z_mm, part.series_key, width)
            logits = np.stack([smoothed[rows].max(axis=0) for rows in groups])
        patients = [part.patient_key[row] for row in first]
        folds.append(_Fold(part.exam_labels[first], logits, patients))
    return folds


def _fit_exams(folds: Sequence[_Fold], method: str) -> list[Calibrator]:
    """Chooses the method with the least loss for exams, and fits a calibrator to each fold."""
    losses = _losses(folds, method)
    return _fit(folds, min(losses, key=lambda name: losses[name]))


def _fit_series(parts: Sequence[SlicePredictions], method: str) -> list[Calibrator]:
    """Calibrates a series model's logits of whole series; without one, the identity."""
    if any(part.series_logits is None for part in parts):
        return [Calibrator()] * len(parts)
    return _fit_exams(_exam_folds(parts), method)


def _weak_classes(joined: SlicePredictions) -> list[int]:
    """Classes whose slices are calibrated as exams are, by number; none where all are labelled."""
    if all_hard(joined.labels):
        return []
    return _constant_classes(joined.labels)


def _prevalence(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Share of slices with a bleed: of the labelled ones, else by the probabilities."""
    bleeds = labels[:, ANY]
    if np.isnan(bleeds).all():
        return float(probabilities[:, ANY].mean())
    known = ~np.isnan(bleeds)
    return float(bleeds.mean() if known.all() else bleeds[known].mean())


def _compare(
    joined: SlicePredictions, after: np.ndarray, levels: Mapping[str, Scored]
) -> dict[str, float | None]:
    """`compare_scores` of slices, or of exams where no slice is labelled.

    Args:
      joined: Predictions for n slices.
      after: Their probabilities after the postprocessing, [n, 6].
      levels: The same by level.
    """
    if not np.isnan(joined.labels).all():
        return compare_scores(joined.labels, sigmoid(joined.logits), after)
    before, level = mixed_examples(joined), exam_level(levels)
    return compare_scores(before.labels, before.probabilities, levels[level].probabilities)


def describe_labels(joined: SlicePredictions) -> dict[str, Any]:
    """Numbers of labelled exams and slices, for people; empty where all slices are labelled."""
    if all_hard(joined.labels):
        return {}
    first = [rows[0] for rows in rows_of(joined.series_key).values()]
    return {
        "num_exams": int((~np.isnan(joined.exam_labels[first])).any(axis=1).sum()),
        "num_labelled_slices": int((~np.isnan(joined.labels)).any(axis=1).sum()),
    }


def labels_told(fitted_on: Mapping[str, Any]) -> list[str]:
    """What `describe_labels` found, in lines of text; none where all slices are labelled."""
    if "num_exams" not in fitted_on:
        return []
    return [
        f"{fitted_on['num_exams']} exams have labels, {fitted_on['num_labelled_slices']} slices "
        "have labels of their own"
    ]


def _describe_weak(joined: SlicePredictions, weak: Sequence[int]) -> dict[str, Any]:
    """Names of the classes whose slices are calibrated as exams are, where labels are unknown."""
    if all_hard(joined.labels):
        return {}
    return {"weakly_supervised": [CLASSES[i] for i in weak]}


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


def compare_scores(
    labels: np.ndarray, before: np.ndarray, after: np.ndarray
) -> dict[str, float | None]:
    """Loss and calibration error of the probabilities before and after the postprocessing.

    Errors are None where nothing is known of `any`.
    """
    known = ~np.isnan(labels[:, ANY])
    errors = [
        float(expected_calibration_error(labels[known, ANY], probabilities[known, ANY], soft=True))
        if known.any()
        else None
        for probabilities in (before, after)
    ]
    return {
        "loss_before": float(known_log_loss(labels, before)),
        "loss_after": float(known_log_loss(labels, after)),
        "ece_before": errors[0],
        "ece_after": errors[1],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
