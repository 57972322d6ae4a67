"""Calibration: fits the postprocessing of a model or an ensemble on validation patients.

Each model predicts the fold that it was validated on, whose patients it was not trained on. Models
of several folds are calibrated each on its own, and their probabilities averaged then.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.errors import InputError
from ich_tf.inference.config import CalibrateConfig
from ich_tf.inference.ensemble import (
    AN_ENSEMBLE,
    Member,
    check_members,
    combined_sha256,
    refuse_other_model,
    runs_of,
    seeds_of,
    write_ensemble,
)
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.hardware import InferenceHardware, choose_inference_hardware
from ich_tf.inference.held_out import check_held_out
from ich_tf.inference.masks.class_volumes import ClassVolumes, SplitVolumes, split_volumes
from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.inference.masks.threshold_fitting import (
    LEAST_SERIES,
    fit_thresholds,
    threshold_index,
)
from ich_tf.inference.masks.volume_error_fitting import LEAST_PATIENTS, fit_volume_error
from ich_tf.inference.postprocessing.fitting import fit_postprocessing, labels_told, mixed_examples
from ich_tf.inference.postprocessing.mixture import fit_shares, mix_logits
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.inference.postprocessing.volume_error import COVERAGE, VolumeError
from ich_tf.inference.series_predictor import kind_of, predictor_of
from ich_tf.labels import ANY, CLASSES
from ich_tf.models import run_files, saved
from ich_tf.models.bundle import NO_CALIBRATION, refuse_bundle
from ich_tf.records.manifest import Manifest
from ich_tf.records.splits import fold_name
from ich_tf.runtime.files import file_sha256
from ich_tf.runtime.keras2 import keras

_LOG = logging.getLogger(__name__)
# A member with a smaller share is not worth its time, and is dropped.
_MIN_SHARE = 0.01


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Result of a calibration.

    Attributes:
      path: Path of `calibration.json`.
      postprocessing: Fitted postprocessing, the content of the file.
      members: Members of the ensemble with their shares; a single one for a single model.
    """

    path: Path
    postprocessing: Postprocessing
    members: tuple[Member, ...]

    def report(self) -> str:
        """Describes the fit and its losses in a few lines."""
        fitted = self.postprocessing.fitted_on
        lines = [
            f"{self.path}: {self.postprocessing.describe()}",
            f"fitted on {fitted['num_slices']} slices of {fitted['num_patients']} patients, "
            f"{', '.join(fitted['splits'])}",
        ]
        lines += labels_told(fitted)
        if len(self.members) > 1:
            lines += [
                f"{member.share:8.3f}  {member.work_dir}/{member.weights}"
                for member in self.members
            ]
        lines.append("weighted log loss on patients that the method was not fitted on:")
        lines += [f"  {name:<12} {loss:.4f}" for name, loss in fitted["losses"].items()]
        if fitted["ece_before"] is not None:
            lines.append(
                f"expected calibration error of any: {fitted['ece_before']:.4f} before, "
                f"{fitted['ece_after']:.4f} after (on the patients it was fitted on; smoothing and "
                "method are chosen by the loss, not by this)"
            )
        for name, told in fitted.get("masks", {}).items():
            threshold = self.postprocessing.mask_thresholds[CLASSES.index(name)]
            few = told["num_series"] < LEAST_SERIES
            kept = f" (not chosen: that takes {LEAST_SERIES} series with a bleed)" if few else ""
            lines.append(
                f"masks of {name}: threshold {threshold:.2f}{kept}; {told['num_series']} series of "
                f"{told['mean_ml']:.1f} ml in the mean, bias {told['bias_ml_before']:+.2f} ml "
                f"before, {told['bias_ml_after']:+.2f} ml after{_describe_false(told)}"
            )
        for name, told in fitted.get("volumes", {}).items():
            error = self.postprocessing.volume_errors[CLASSES.index(name)]
            lines.append(f"volumes of {name}: {_describe_error(error, told)}")
        if self.postprocessing.abstention is not None:
            lines += self.postprocessing.abstention.report()
        return "\n".join(lines)


def calibrate(config: CalibrateConfig) -> Calibration:
    """Fits the postprocessing of a model or an ensemble, and writes it into the work dir.

    Raises:
      InputError: If a model is missing, the data are not those that it was trained on, or the
        models have no validation fold in common.
    """
    for folder in (config.work_dir, *config.members):
        refuse_bundle(folder, NO_CALIBRATION)
    manifest = Manifest.load(config.data_dir)
    groups = _find_groups(config)
    if config.members:
        refuse_other_model(config.work_dir, AN_ENSEMBLE)
    named = [member for group in groups for member in group]
    kind_of(named)
    if len(groups) > 1:
        check_members(config.work_dir, named)
    hardware = choose_inference_hardware(config.mixed_precision)
    predictions, hashed = [], []
    volumes: list[SplitVolumes] = []
    for group in groups:
        by_fold, members = _predict_folds(group, manifest, config, hardware, volumes)
        predictions.append(by_fold)
        hashed.append(members)
    common = _common_folds(predictions)
    joined = [
        SlicePredictions.concatenate([by_fold[fold] for fold in common]) for by_fold in predictions
    ]
    examples = [mixed_examples(group) for group in joined]
    shares = fit_shares(examples[0].labels, np.stack([each.probabilities for each in examples]))
    shares = np.where(shares >= _MIN_SHARE, shares, 0)
    shares = shares / shares.sum()
    members = _with_shares(hashed, shares)
    if config.members or config.average_epochs or len(groups) > 1:
        write_ensemble(config.work_dir, members)
    else:
        (Path(config.work_dir) / run_files.ENSEMBLE).unlink(missing_ok=True)
    folds = _by_fold(hashed, predictions, shares)
    postprocessing = fit_postprocessing(
        [fold.predictions for fold in folds],
        members=[fold.hashes for fold in folds] if len(folds) > 1 else ((),),
        shares=[fold.share for fold in folds],
        model_sha256=combined_sha256(
            [member.sha256 for member in members], [member.share for member in members]
        ),
        flip=config.flip,
        smoothing_mm=config.smoothing_mm,
        method=config.method,
        splits=[fold.name for fold in folds],
        abstain=config.abstention_target,
    )
    if volumes:
        postprocessing = _with_masks(postprocessing, volumes)
    path = postprocessing.save(config.work_dir)
    return Calibration(path, postprocessing, tuple(members))


def _with_masks(postprocessing: Postprocessing, volumes: Sequence[SplitVolumes]) -> Postprocessing:
    """Adds thresholds of masks and errors of volumes.

    Args:
      postprocessing: Postprocessing without them.
      volumes: Volumes by each network on the fold that it was validated on.
    """
    by_class = [
        ClassVolumes.concatenate([part.of_class(k) for part in volumes]) for k in range(ANY)
    ]
    # Masks of any hold those of the subtypes, at their thresholds.
    subtypes = [threshold_index(of_class) for of_class in by_class]
    by_class.append(ClassVolumes.concatenate([part.of_class(ANY, subtypes) for part in volumes]))
    thresholds, masks_told = fit_thresholds(by_class)
    errors, volumes_told = zip(*map(fit_volume_error, by_class), strict=True)
    told = {"masks": masks_told, "volumes": dict(zip(CLASSES, volumes_told, strict=True))}
    return dataclasses.replace(
        postprocessing,
        mask_thresholds=thresholds,
        volume_errors=errors,
        fitted_on={**postprocessing.fitted_on, **told},
    )


def _describe_false(told: Mapping[str, Any]) -> str:
    """Describes what is marked in series without a bleed of the class."""
    if "num_without" not in told:
        return ""
    return (
        f"; {told['num_without']} series without one, where {told['false_ml_before']:.2f} ml are "
        f"marked in the mean before, {told['false_ml_after']:.2f} ml after"
    )


def _describe_error(error: VolumeError | None, told: Mapping[str, Any]) -> str:
    """Describes the intervals of a class's volumes."""
    if error is None:
        return (
            f"no interval: {told['num_series']} validation series with predicted pixels have whole "
            f"masks; it takes those of {LEAST_PATIENTS} patients"
        )
    text = f"in {COVERAGE:.0%} of series, 10 ml are {{:.1f}} to {{:.1f}} ml; "
    text = text.format(*error.interval(10.0))
    if told["coverage"] is None:
        return f"{text}too few series to check it on others"
    return (
        f"{text}such intervals held {told['coverage']:.0%} of {told['num_checked']} series whose "
        f"patients they were not fitted on"
    )


def _find_groups(config: CalibrateConfig) -> list[list[Member]]:
    """Returns groups of models: one share is fitted for each group.

    The members of a group have one config, and differ in the fold that they were validated on.

    Raises:
      InputError: If a run holds fewer epochs than are to be averaged, or a member is an ensemble.
    """
    groups = []
    for member in map(Path, config.members):
        runs = runs_of(seeds_of(member)[0])
        if (member / run_files.ENSEMBLE).is_file() and not (runs[0] / run_files.MODEL).is_file():
            raise InputError(
                f"--members={member}: is an ensemble itself. Name the runs that its "
                f"{run_files.ENSEMBLE} lists; their shares are fitted anew."
            )
    folders = [seed for folder in config.members or (config.work_dir,) for seed in seeds_of(folder)]
    for folder in folders:
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
        groups += [
            [Member(run, epochs[run][-back]) for run in runs]
            for back in range(config.average_epochs, 0, -1)
        ]
    return groups


def _predict_folds(
    group: Sequence[Member],
    manifest: Manifest,
    config: CalibrateConfig,
    hardware: InferenceHardware,
    volumes: list[SplitVolumes],
) -> tuple[dict[str, SlicePredictions], list[Member]]:
    """Predicts with each member the fold that it was validated on.

    Volumes of its masks, if it gives any, are added to `volumes`.

    Returns:
      Name of the fold -> logits of its slices; and the members with the SHA-256 of their weights.

    Raises:
      InputError: If a member was trained on other data, or two were validated on one fold.
    """
    data_sha256 = manifest.fingerprint()["sha256"]
    by_fold: dict[str, SlicePredictions] = {}
    hashed = []
    for member in group:
        if member.data_sha256() != data_sha256:
            raise InputError(
                f"{member.work_dir}: was trained on other data than {config.data_dir} holds, "
                "so that its validation patients are not known here. Give --data_dir the "
                "folder that it was trained on."
            )
        check_held_out(member, manifest)
        fold = fold_name(member.validation_fold())
        _LOG.info("%s/%s predicts %s", member.work_dir, member.weights, fold)
        predictor = predictor_of(
            [member],
            hardware.strategy,
            Postprocessing(flip=config.flip),
            precision=hardware.precision,
        )
        predictor.check_data(manifest, member.work_dir)
        if fold in by_fold:
            raise InputError(
                f"{member.work_dir}: validated on {fold}, as another run beside it did. Name "
                "runs to average with --members."
            )
        by_fold[fold] = predictor.predict_split(manifest, fold, config.batch_size)
        if (masks := MaskNetwork.of(predictor)) is not None:
            volumes.append(
                split_volumes(masks, manifest, fold, config.batch_size, predictor.neighbours)
            )
        sha256 = file_sha256(member.work_dir / member.weights)
        hashed.append(dataclasses.replace(member, sha256=sha256))
        keras.backend.clear_session()
    return by_fold, hashed


def _common_folds(predictions: Sequence[dict[str, SlicePredictions]]) -> list[str]:
    """Returns the folds that every group predicted, sorted.

    Raises:
      InputError: If there is none.
    """
    common = set.intersection(*(set(by_fold) for by_fold in predictions))
    if not common:
        folds = "; ".join(",".join(sorted(by_fold)) for by_fold in predictions)
        raise InputError(
            f"--members: the runs validated on different folds ({folds}), so that no patient is "
            "new to all of them. Average runs of one validation fold, or of --validation_fold=all."
        )
    return sorted(common)


def _with_shares(groups: Sequence[Sequence[Member]], shares: np.ndarray) -> list[Member]:
    """Returns the members of the groups with shares above 0; a group's members share equally."""
    return [
        dataclasses.replace(member, share=float(share) / len(group))
        for group, share in zip(groups, shares, strict=True)
        if share
        for member in group
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class _Fold:
    """Members that were validated on one fold, and what their mean predicts of it.

    Attributes:
      name: Name of the fold.
      hashes: SHA-256 of the members' weights.
      share: Sum of the members' shares.
      predictions: Slices of the fold, with the logits of the members' mean probability.
    """

    name: str
    hashes: tuple[str, ...]
    share: float
    predictions: SlicePredictions


def _by_fold(
    groups: Sequence[Sequence[Member]],
    predictions: Sequence[dict[str, SlicePredictions]],
    shares: np.ndarray,
) -> list[_Fold]:
    """Averages the members of each fold with the shares that they have in the ensemble.

    Args:
      groups: Members of each group.
      predictions: What each group's members predict of their folds.
      shares: Share of each group, of sum 1.
    """
    chosen: dict[str, list[tuple[str, float, SlicePredictions]]] = {}
    for group, by_fold, share in zip(groups, predictions, shares, strict=True):
        for member in group if share else ():
            fold = fold_name(member.validation_fold())
            row = (member.sha256, float(share) / len(group), by_fold[fold])
            chosen.setdefault(fold, []).append(row)
    folds = []
    for fold, rows in sorted(chosen.items()):
        hashes, of_members, predicted = zip(*rows, strict=True)
        total = sum(of_members)
        mean = _mean(predicted, np.array(of_members) / total)
        folds.append(_Fold(fold, hashes, total, mean))
    return folds


def _mean(joined: Sequence[SlicePredictions], shares: np.ndarray) -> SlicePredictions:
    """Averages the probabilities of members, for slices and for whole series."""
    logits = mix_logits([member.logits for member in joined], shares)
    whole = [member.series_logits[0] for member in joined if member.series_logits is not None]
    series_logits = mix_logits(whole, shares)[None] if whole else None
    return dataclasses.replace(
        joined[0],
        logits=logits,
        series_logits=series_logits,
        groups=None,
        members=None,
        series_members=None,
    )
