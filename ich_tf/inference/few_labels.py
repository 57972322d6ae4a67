"""Calibration at a site: adapts a model's postprocessing to other patients, from few labels.

The model keeps its weights, its smoothing and its calibration; `postprocessing.site` moves the
probabilities that come of them. Whoever fits again, with more labels, starts from the calibration
that the model brought along, not from an earlier fit.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.errors import InputError
from ich_tf.inference.config import CalibrateConfig
from ich_tf.inference.ensemble import find_members
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.hardware import choose_inference_hardware
from ich_tf.inference.postprocessing.abstention import AbstentionTarget, fit_abstention
from ich_tf.inference.postprocessing.aggregation import SERIES_MODEL, SLICE, Scored, at_levels
from ich_tf.inference.postprocessing.exam_level import exam_level, known_examples
from ich_tf.inference.postprocessing.fitting import (
    choose_thresholds,
    compare_scores,
    describe_labels,
    labels_told,
)
from ich_tf.inference.postprocessing.postprocessing import Postprocessing, Thresholds
from ich_tf.inference.postprocessing.site import (
    SiteCalibrator,
    SiteFit,
    cross_validated_loss,
    fit_site,
)
from ich_tf.inference.postprocessing.smoothing import rows_of
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.labels import ANY, CLASSES
from ich_tf.labels.classes import POSITIVE_SHARE
from ich_tf.metrics import known_log_loss
from ich_tf.models.bundle import NO_CALIBRATION, refuse_bundle
from ich_tf.models.origins import patient_ids
from ich_tf.records.manifest import Manifest

_LOG = logging.getLogger(__name__)
# Patients with and without a class from which its threshold is chosen anew.
LEAST_PATIENTS = 10
# Whose threshold moves with the probabilities: a maximum of slices, or slices.
_MONOTONE = ("slice", "series_max", "patient_max")


@dataclasses.dataclass(frozen=True)
class SiteCalibration:
    """Result of a calibration at a site.

    Attributes:
      path: Path of `calibration.json`.
      postprocessing: The model's postprocessing with that of the site, the content of the file.
    """

    path: Path
    postprocessing: Postprocessing

    def report(self) -> str:
        """Describes the fit and its losses in a few lines."""
        fitted = self.postprocessing.fitted_on
        slope, low, high = fitted["slope"]
        lines = [
            f"{self.path}: {self.postprocessing.describe()}",
            f"fitted on {fitted['num_slices']} slices of {fitted['num_patients']} patients, "
            f"{', '.join(fitted['splits'])}",
            *labels_told(fitted),
            f"slope {slope:.2f} [{low:.2f}, {high:.2f}]; shift of the logits, in brackets 95 % "
            "intervals:",
        ]
        for name, (shift, least, most) in fitted["shift"].items():
            lines.append(
                f"  {name:<17} {shift:+.2f} [{least:+.2f}, {most:+.2f}]  "
                f"{fitted['positive_patients'][name]} patients have it"
            )
        lines.append("weighted log loss of these patients:")
        lines += [f"  {name:<44} {loss:.4f}" for name, loss in fitted["losses"].items()]
        lines.append(
            f"thresholds of {', '.join(fitted['chosen']) or 'no class'} were chosen on these "
            f"patients ({LEAST_PATIENTS} with and {LEAST_PATIENTS} without it, or more); the "
            "others moved with the probabilities, and mark what they marked before"
        )
        if self.postprocessing.abstention is not None:
            lines += self.postprocessing.abstention.report()
        return "\n".join(lines)


def calibrate_few(config: CalibrateConfig) -> SiteCalibration:
    """Adapts the calibration of a model to a site, and writes it into the work dir.

    Raises:
      InputError: If the model is missing, the data hold no labelled folds, two patients, or
        patients that the model has seen.
    """
    refuse_bundle(config.work_dir, NO_CALIBRATION)
    manifest = Manifest.load(config.data_dir)
    splits = sorted(split for split in manifest.patients if split.startswith("fold-"))
    patients = {patient for split in splits for patient in manifest.patients[split]}
    if len(patients) < 2:
        raise InputError(
            f"{config.data_dir}: holds {len(patients)} labelled patients outside of its test "
            "split; --few needs two or more, and rather ten. Convert labelled series with "
            "--labels_csv."
        )
    _check_new(config, manifest, patients)
    hardware = choose_inference_hardware(config.mixed_precision)
    predictor = load_predictor(config.work_dir, hardware.strategy, precision=hardware.precision)
    predictor.check_data(manifest, config.work_dir)
    before = without_site(predictor.postprocessing)
    slices = SlicePredictions.concatenate(
        [
            predictor.predict_split(manifest, split, config.batch_size, is_own=False)
            for split in splits
        ]
    )
    if predictor.postprocessing.abstention is not None and config.abstention_target is None:
        _LOG.warning(
            "%s: its abstention held for other patients and is left out; --abstain_miss_rate fits "
            "it to these",
            config.work_dir,
        )
    fitted = fit_at_site(before, slices, predictor.sha256, splits, config.abstention_target)
    return SiteCalibration(fitted.save(config.work_dir), fitted)


def without_site(postprocessing: Postprocessing) -> Postprocessing:
    """The postprocessing that a model brought along, before an earlier calibration at a site."""
    if postprocessing.site is None:
        return postprocessing
    former = postprocessing.fitted_on["before"]
    return dataclasses.replace(
        postprocessing, site=None, site_series=None, abstention=None, **former
    )


def fit_at_site(
    before: Postprocessing,
    slices: SlicePredictions,
    model_sha256: str,
    splits: list[str],
    abstain: AbstentionTarget | None = None,
) -> Postprocessing:
    """Adds the calibration of a site to a model's postprocessing.

    Args:
      before: Postprocessing that the model brought along.
      slices: Labelled slices of the site, whole series, with their logits by each group of members.
      model_sha256: SHA-256 of the model (`Predictor.sha256`).
      splits: Names of the splits of the slices, for people.
      abstain: What abstention is to promise at the site; None for no abstention.
    """
    predicted = before.probabilities(slices.by_group, slices.z_mm, slices.series_key)
    examples = _examples(before, slices, predicted)
    labels, patients = examples.labels, examples.patients.tolist()
    fit = fit_site(labels, examples.probabilities, patients)
    calibrated = fit.calibrator(predicted)
    whole, site_series = _fit_series(before, slices)
    levels = at_levels(
        slices.labels,
        calibrated,
        slices.series_key,
        slices.patient_key,
        whole,
        slices.exam_labels,
    )
    thresholds, chosen = _thresholds(before.thresholds, levels, fit.calibrator, site_series)
    site_loss = cross_validated_loss(labels, examples.probabilities, patients)
    return dataclasses.replace(
        before,
        model_sha256=model_sha256,
        site=fit.calibrator,
        site_series=site_series,
        # Few labels say less of a site's prevalence than the labels and the model together.
        prevalence=float(np.clip(calibrated[:, ANY].mean(), 1e-4, 1 - 1e-4)),
        thresholds=thresholds,
        abstention=fit_abstention(levels, thresholds, abstain),
        fitted_on={
            "splits": splits,
            "num_slices": len(slices),
            "num_patients": len(set(slices.patient_key)),
            **describe_labels(slices),
            **_describe(fit, labels, patients),
            "losses": {
                "before": float(known_log_loss(labels, examples.probabilities)),
                "after, on patients that it was not fitted on": site_loss,
            },
            **compare_scores(
                labels, examples.probabilities, fit.calibrator(examples.probabilities)
            ),
            "chosen": chosen,
            "before": {
                "thresholds": before.thresholds,
                "prevalence": before.prevalence,
                "fitted_on": before.fitted_on,
            },
        },
    )


def _examples(before: Postprocessing, slices: SlicePredictions, predicted: np.ndarray) -> Scored:
    """What the calibrator of slices is fitted to: labelled slices; exams where there are none.

    That of an exam's greatest slice moves all of them: the greatest stays the greatest.

    Args:
      before: Postprocessing that the model brought along.
      slices: Slices of the site.
      predicted: Their probabilities by it, [n, 6].
    """
    if not np.isnan(slices.labels).any():
        return Scored(slices.labels, predicted, np.asarray(slices.patient_key))
    levels = at_levels(
        slices.labels,
        predicted,
        slices.series_key,
        slices.patient_key,
        before.series_probabilities(slices.series_logits),
        slices.exam_labels,
    )
    return levels[SLICE if SLICE in levels else exam_level(levels)]


def _check_new(config: CalibrateConfig, manifest: Manifest, patients: set[str]) -> None:
    """Checks that a model has seen none of a site's patients.

    Raises:
      InputError: If it was trained or chosen on some of them.
    """
    for member in find_members(config.work_dir):
        origin = member.origin()
        exposure = origin.exposure(patient_ids(patients), patient_keys=manifest.patient_keys)
        seen = exposure.trained | exposure.chosen
        if seen:
            raise InputError(
                f"{config.data_dir}: {len(seen)} of {len(patients)} patients are among those that "
                f"{member.name} was trained or chosen on; --few takes patients of another "
                "site. For the data of the training run python -m ich_tf.calibrate without --few."
            )
        if not exposure.is_known:
            _LOG.warning(
                "%s: whether it was trained on some of these patients is not known",
                member.work_dir,
            )


def _fit_series(
    before: Postprocessing, slices: SlicePredictions
) -> tuple[np.ndarray | None, SiteCalibrator | None]:
    """Calibrates a series model's whole series: each slice's series, [n, 6]; None without one."""
    whole = before.series_probabilities(slices.series_logits)
    if whole is None:
        return None, None
    groups = list(rows_of(slices.series_key).values())
    exams = slices.exam_labels
    first = [rows[0] for rows in groups if not np.isnan(exams[rows[0]]).all()]
    fit = fit_site(exams[first], whole[first], [slices.patient_key[row] for row in first])
    return fit.calibrator(whole), fit.calibrator


def _thresholds(
    before: Thresholds,
    levels: Mapping[str, Scored],
    site: SiteCalibrator,
    site_series: SiteCalibrator | None,
) -> tuple[Thresholds, list[str]]:
    """Thresholds at the site, and the classes whose thresholds were chosen anew.

    A class with few patients keeps its decisions: its threshold moves with the probabilities. Where
    that has no meaning, since the level adds up slices in another way, it has none.
    """
    maps = {**dict.fromkeys(_MONOTONE, site), SERIES_MODEL: site_series}
    anew = choose_thresholds(levels)
    examples = levels[SLICE if SLICE in levels else exam_level(levels)]
    is_chosen = {name: _has_enough(examples, i) for i, name in enumerate(CLASSES)}
    unscored = [(level, by_rule) for level, by_rule in before.items() if level not in anew]

    def of_class(level: str, rule: str, name: str) -> float | None:
        if is_chosen[name] and level in anew:
            return anew[level][rule][name]
        former, move = before.get(level, {}).get(rule, {}).get(name), maps.get(level)
        if former is None or move is None:
            return None
        column = CLASSES.index(name)
        return float(move(np.full((1, len(CLASSES)), former))[0, column])

    thresholds = {
        level: {rule: {name: of_class(level, rule, name) for name in CLASSES} for rule in by_rule}
        for level, by_rule in (*anew.items(), *unscored)
    }
    return thresholds, [name for name in CLASSES if is_chosen[name]]


def _has_enough(slices: Scored, column: int) -> bool:
    """Whether enough patients have a class, and enough do not, to choose its threshold."""
    truth, _, patients = known_examples(slices, column)
    positive = set(patients[truth == 1])
    return min(len(positive), len(set(patients) - positive)) >= LEAST_PATIENTS


def _describe(fit: SiteFit, labels: np.ndarray, patients: list[str]) -> dict[str, Any]:
    """Parameters with their intervals, and the number of patients with each class, for people."""
    keys = np.asarray(patients)
    triples = zip(CLASSES, fit.shift_at_mean, fit.shift_intervals, strict=True)
    return {
        "slope": [fit.calibrator.slope, *fit.slope_interval],
        "shift": {name: [shift, *interval] for name, shift, interval in triples},
        "positive_patients": {
            name: len(set(keys[labels[:, i] >= POSITIVE_SHARE])) for i, name in enumerate(CLASSES)
        },
    }
