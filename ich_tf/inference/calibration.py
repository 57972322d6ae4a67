"""Fits what follows the logits on validation patients: shares, smoothing, calibration, thresholds.

Every prediction used here is of a patient that its model did not train on: each model predicts the
fold that it validated on. Where models validated on several folds, their predictions are joined.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.errors import InputError
from ich_tf.inference.config import CalibrateConfig
from ich_tf.inference.ensemble import Member, combined_sha256, runs_of, write_ensemble
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.aggregation import Scored, at_levels
from ich_tf.inference.postprocessing.calibrators import METHODS, Calibrator, cross_validated_losses
from ich_tf.inference.postprocessing.mixture import fit_shares, mix_logits
from ich_tf.inference.postprocessing.postprocessing import POINTS, Postprocessing, Thresholds
from ich_tf.inference.postprocessing.smoothing import rows_of, smooth_logits
from ich_tf.inference.series_predictor import kind_of, predictor_of
from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics import (
    choose_threshold,
    expected_calibration_error,
    sigmoid,
    weighted_log_loss,
)
from ich_tf.models import run_files, saved
from ich_tf.records.manifest import Manifest
from ich_tf.records.splits import fold_name
from ich_tf.runtime.files import file_sha256
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import make_strategy

_LOG = logging.getLogger(__name__)
# From a millimetre to more than most slices are apart; a head is some 150 mm long.
WIDTHS_MM = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0)
# A member with less is not worth its time.
_LEAST_SHARE = 0.01


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What was fitted, and what it did to the validation patients.

    Attributes:
      path: Of `calibration.json`.
      postprocessing: What stands in it.
      members: Of the ensemble, with their shares; one for a single model.
    """

    path: Path
    postprocessing: Postprocessing
    members: tuple[Member, ...]

    def report(self) -> str:
        """A few lines for a person."""
        fitted = self.postprocessing.fitted_on
        lines = [
            f"{self.path}: {self.postprocessing.describe()}",
            f"fitted on {fitted['num_slices']} slices of {fitted['num_patients']} patients, "
            f"{', '.join(fitted['splits'])}",
        ]
        if len(self.members) > 1:
            lines += [f"{one.share:8.3f}  {one.work_dir}/{one.weights}" for one in self.members]
        lines.append("weighted log loss on patients that the method was not fitted on:")
        lines += [f"  {name:<12} {loss:.4f}" for name, loss in fitted["losses"].items()]
        lines.append(
            f"expected calibration error of any: {fitted['ece_before']:.4f} before, "
            f"{fitted['ece_after']:.4f} after (on the patients it was fitted on; smoothing and "
            "method are chosen by the loss, not by this)"
        )
        return "\n".join(lines)


def calibrate(config: CalibrateConfig) -> Calibration:
    """Fits a postprocessing to a model or an ensemble, and writes it beside it.

    Raises:
      InputError: If a model, its data or its validation fold cannot be had.
    """
    manifest = Manifest.load(config.data_dir)
    groups = _find_groups(config)
    kind_of([member for group in groups for member in group])
    strategy = make_strategy("mirrored")
    data_sha256 = manifest.fingerprint()["sha256"]
    predicted, splits, hashes = [], [], []
    for group in groups:
        parts = {}
        for member in group:
            if member.data_sha256() != data_sha256:
                raise InputError(
                    f"{member.work_dir}: was trained on other data than {config.data_dir} holds, "
                    "so that its validation patients are not known here. Give --data_dir the "
                    "folder that it was trained on."
                )
            fold = fold_name(member.validation_fold())
            _LOG.info("%s/%s predicts %s", member.work_dir, member.weights, fold)
            predictor = predictor_of([member], strategy, Postprocessing(flip=config.flip))
            predictor.check_data(manifest, member.work_dir)
            if fold in parts:
                raise InputError(
                    f"{member.work_dir}: validated on {fold}, as another run beside it did. Name "
                    "runs to average with --members."
                )
            parts[fold] = predictor.predict_split(manifest, fold, config.batch_size)
            hashes.append(file_sha256(member.work_dir / member.weights))
            keras.backend.clear_session()
        splits.append(set(parts))
        predicted.append(list(parts.values()))
    common = set.intersection(*splits)
    if not common:
        raise InputError(
            "--members: the runs validated on different folds ("
            f"{'; '.join(','.join(sorted(one)) for one in splits)}), so that no patient is new to "
            "all of them. Average runs of one validation fold, or of --validation_fold=all."
        )
    joined = [_join(parts, one, common) for parts, one in zip(predicted, groups, strict=True)]
    first = joined[0]
    probabilities = np.stack([sigmoid(one.logits) for one in joined])
    shares = fit_shares(first.labels, probabilities)
    members = _with_shares(groups, shares, hashes)
    if len(joined) > 1:
        kept = np.where(shares >= _LEAST_SHARE, shares, 0)
        first = _mean(joined, kept / kept.sum())
    if config.members or config.average_epochs:
        write_ensemble(config.work_dir, members)
    else:
        (Path(config.work_dir) / run_files.ENSEMBLE).unlink(missing_ok=True)
    found = fit_postprocessing(
        first,
        model_sha256=combined_sha256(
            [one.sha256 for one in members], [one.share for one in members]
        ),
        flip=config.flip,
        smoothing_mm=config.smoothing_mm,
        method=config.method,
        splits=sorted(common),
    )
    return Calibration(found.save(config.work_dir), found, tuple(members))


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
      predictions: Of patients that the model did not see.
      model_sha256: Of the model.
      flip: Whether the logits are means with mirror images.
      smoothing_mm: As of `config.CalibrateConfig`.
      method: Likewise.
      splits: What the predictions are of, for people.
    """
    labels = predictions.labels
    before = predictions.logits.astype(np.float64)
    tried = _try(predictions, before, smoothing_mm, method)
    width, chosen = min(tried, key=lambda one: tried[one])
    logits = smooth_logits(before, predictions.z_mm, predictions.series_key, width)
    calibrator = METHODS[chosen](labels, logits)
    probabilities = calibrator(logits)
    series_calibrator = _fit_series(predictions, method)
    ece = [
        float(expected_calibration_error(labels[:, ANY], one[:, ANY]))
        for one in (sigmoid(before), probabilities)
    ]
    fitted_on: dict[str, Any] = {
        "splits": list(splits),
        "num_slices": len(predictions),
        "num_patients": len(set(predictions.patient_key)),
        "losses": {name: round(loss, 6) for (mm, name), loss in tried.items() if mm == width},
        "losses_by_smoothing_mm": {
            f"{mm:g}": round(min(loss for (at, _), loss in tried.items() if at == mm), 6)
            for mm, _ in tried
        },
        "loss_before": weighted_log_loss(labels, sigmoid(before)),
        "loss_after": weighted_log_loss(labels, probabilities),
        "ece_before": ece[0],
        "ece_after": ece[1],
    }
    return Postprocessing(
        model_sha256=model_sha256,
        flip=flip,
        smoothing_mm=width,
        calibrator=calibrator,
        series_calibrator=series_calibrator,
        # Odds of 0 or infinity could not be turned into others.
        prevalence=float(np.clip(labels[:, ANY].mean(), 1e-4, 1 - 1e-4)),
        thresholds=choose_thresholds(
            at_levels(
                labels,
                probabilities,
                predictions.series_key,
                predictions.patient_key,
                _calibrated(series_calibrator, predictions.series_logits),
            )
        ),
        fitted_on=fitted_on,
    )


def choose_thresholds(levels: Mapping[str, Scored]) -> Thresholds:
    """The thresholds of `postprocessing.POINTS`, of each class at each level.

    Args:
      levels: As of `levels.at_levels`.
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


def _fit_series(predictions: SlicePredictions, method: str) -> Calibrator:
    """Calibrates what a series model says of whole series; the identity for other models."""
    if predictions.series_logits is None:
        return Calibrator()
    rows = list(rows_of(predictions.series_key).values())
    labels = np.stack([predictions.labels[row].max(axis=0) for row in rows])
    logits = np.stack([predictions.series_logits[row[0]] for row in rows])
    patients = [predictions.patient_key[row[0]] for row in rows]
    tried = cross_validated_losses(labels, logits, patients, _methods(method))
    return METHODS[min(tried, key=lambda one: tried[one])](labels, logits)


def _calibrated(calibrator: Calibrator, logits: np.ndarray | None) -> np.ndarray | None:
    return None if logits is None else calibrator(logits)


def _methods(method: str) -> tuple[str, ...]:
    return tuple(METHODS) if method == "auto" else (method,)


def _mean(joined: Sequence[SlicePredictions], shares: np.ndarray) -> SlicePredictions:
    """The logits of the mean probability, of slices and of whole series."""
    logits = mix_logits([one.logits for one in joined], shares)
    whole = [one.series_logits for one in joined if one.series_logits is not None]
    series_logits = mix_logits(whole, shares) if whole else None
    return dataclasses.replace(joined[0], logits=logits, series_logits=series_logits)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _find_groups(config: CalibrateConfig) -> list[list[Member]]:
    """Models to be weighed against each other; those of a group share a config, and differ in fold.

    Raises:
      InputError: If there are fewer epochs than are to be averaged.
    """
    groups = []
    for folder in config.members or (config.work_dir,):
        runs = runs_of(folder)
        if not config.average_epochs:
            groups.append([Member(run) for run in runs])
            continue
        epochs = {run: saved.epoch_weights(run) for run in runs}
        for run, weights in epochs.items():
            if len(weights) < config.average_epochs:
                raise InputError(
                    f"{run}: holds the weights of {len(weights)} epochs; --average_epochs is "
                    f"{config.average_epochs}. Train with --keep_epochs, or give fewer."
                )
        for back in range(config.average_epochs, 0, -1):
            epoch = [Member(run, epochs[run][-back]) for run in runs]
            groups.append(epoch)
    return groups


def _join(
    parts: Sequence[SlicePredictions], group: Sequence[Member], common: set[str]
) -> SlicePredictions:
    """The predictions of a group's members for the folds that all groups have."""
    folds = [fold_name(one.validation_fold()) for one in group]
    wanted = sorted((fold, part) for fold, part in zip(folds, parts, strict=True) if fold in common)
    return SlicePredictions.concatenate([part for _, part in wanted])


def _with_shares(
    groups: Sequence[Sequence[Member]], shares: np.ndarray, hashes: Sequence[str]
) -> list[Member]:
    """The members of the groups that are worth it; those of a group share alike."""
    kept = np.where(shares >= _LEAST_SHARE, shares, 0)
    kept = kept / kept.sum()
    sha256 = iter(hashes)
    found = []
    for group, share in zip(groups, kept, strict=True):
        for one in group:
            own = next(sha256)
            if share:
                found.append(dataclasses.replace(one, share=float(share) / len(group), sha256=own))
    return found


def _try(
    predictions: SlicePredictions, logits: np.ndarray, smoothing_mm: float, method: str
) -> dict[tuple[float, str], float]:
    """(width, method) -> loss on patients that the method was not fitted on."""
    losses = {}
    for width in WIDTHS_MM if smoothing_mm < 0 else (smoothing_mm,):
        smoothed = smooth_logits(logits, predictions.z_mm, predictions.series_key, width)
        found = cross_validated_losses(
            predictions.labels,
            smoothed,
            predictions.patient_key,
            _methods(method),
        )
        losses.update({(width, name): loss for name, loss in found.items()})
    return losses
