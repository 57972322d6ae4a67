"""Evaluation of a work dir's model on a split: scores, predictions, a report, a model card."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from ich_tf.evaluation.abstention_scores import score_abstention
from ich_tf.evaluation.agreement import member_exams, score_agreement
from ich_tf.evaluation.config import EvaluateConfig
from ich_tf.evaluation.decision_curves import decision_curves
from ich_tf.evaluation.exams import exams_table
from ich_tf.evaluation.group_scores import score_groups
from ich_tf.evaluation.group_table import groups_of_slices, read_groups
from ich_tf.evaluation.heat_map_scores import measure_heat_maps, pick_slices
from ich_tf.evaluation.leakage import same_data, seen_before, started_from
from ich_tf.evaluation.main_level import before_postprocessing
from ich_tf.evaluation.masks.evaluate_masks import evaluate_masks
from ich_tf.evaluation.masks.mask_evaluation import series_table
from ich_tf.evaluation.model_card import write_model_card
from ich_tf.evaluation.report import write_report
from ich_tf.evaluation.result import Evaluation, predictions_table, score
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.hardware import choose_inference_hardware
from ich_tf.inference.postprocessing.aggregation import at_levels
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.labels import ANY
from ich_tf.masks.bits import area_mm2
from ich_tf.masks.png_masks import Masks
from ich_tf.records.manifest import Manifest
from ich_tf.runtime.files import write_json, write_text

_LOG = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Scores the model of a work dir, and writes the results.

    Writes predictions.csv, exams.csv, metrics.json and summary.txt; masks.csv if model and records
    have masks; report.html and model_card.md as well if the config asks for them.

    Raises:
      InputError: If data and model do not match, or either cannot be read.
    """
    manifest = Manifest.load(config.data_dir)
    manifest.split_shards(config.split)
    masks = Masks(config.masks_dir) if config.masks_dir else None
    group_table = read_groups(config.groups_csv) if config.groups_csv else None
    hardware = choose_inference_hardware(config.mixed_precision)
    predictor = load_predictor(
        config.work_dir,
        hardware.strategy,
        calibrated=config.calibrated,
        precision=hardware.precision,
    )
    predictor.check_data(manifest, config.work_dir)
    seen = seen_before(config.work_dir, manifest, config.split)
    postprocessing = predictor.postprocessing
    if config.calibrated and not postprocessing.is_fitted:
        _warn_uncalibrated(config)
    predictions = predictor.predict_split(manifest, config.split, config.batch_size)
    probabilities = postprocessing.probabilities(
        predictions.by_group, predictions.z_mm, predictions.series_key
    )
    out_dir = _results_dir(config, manifest)
    out_dir.mkdir(parents=True, exist_ok=True)
    table = predictions_table(predictions, probabilities)
    write_text(out_dir / "predictions.csv", table.to_csv(index=False))
    whole = postprocessing.series_probabilities(predictions.series_logits)
    exams = exams_table(predictions, probabilities, whole)
    write_text(out_dir / "exams.csv", exams.to_csv(index=False))
    levels = at_levels(
        predictions.labels,
        probabilities,
        predictions.series_key,
        predictions.patient_key,
        whole,
        predictions.exam_labels,
    )
    evaluation = score(
        config.split,
        predictions,
        levels,
        postprocessing,
        prior=predictor.prior,
        model={
            "work_dir": str(config.work_dir),
            "sha256": predictor.sha256,
            "postprocessing": postprocessing.describe(),
            "seen": seen,
            "precision": hardware.precision,
            "started_from": started_from(config.work_dir),
            **({"supervision": predictor.supervision} if predictor.supervision else {}),
        },
        prevalence=config.prevalence,
        num_resamples=config.bootstrap,
        areas_mm2=_areas_mm2(masks, predictions) if masks else None,
    )
    abstention = postprocessing.abstention
    members = member_exams(predictions, postprocessing, predictor.group_of_members())
    evaluation = dataclasses.replace(
        evaluation,
        decision_curves=decision_curves(levels, config.bootstrap),
        abstention=score_abstention(abstention, levels),
        abstention_target=abstention.target if abstention is not None else None,
        agreement=score_agreement(levels, members, postprocessing, config.bootstrap),
    )
    if group_table is not None:
        groups = groups_of_slices(group_table, predictions, manifest, config.hash_key_file)
        scored = score_groups(groups, predictions, levels, postprocessing, config.bootstrap)
        evaluation = dataclasses.replace(evaluation, groups=scored)
    if masks:
        localization = measure_heat_maps(predictor, manifest, config.split, predictions, masks)
        evaluation = dataclasses.replace(evaluation, localization=localization)
    mask_results = evaluate_masks(
        predictor, manifest, config.split, config.batch_size, with_pictures=config.report
    )
    if mask_results is not None:
        evaluation = dataclasses.replace(evaluation, masks=mask_results.summary(config.bootstrap))
        write_text(
            out_dir / "masks.csv",
            series_table(mask_results.scored).to_csv(index=False, float_format="%.6g"),
        )
    write_json(out_dir / "metrics.json", evaluation.content())
    write_text(out_dir / "summary.txt", evaluation.report() + "\n")
    if config.report:
        pictures = pick_slices(
            predictor,
            manifest,
            config.split,
            predictions,
            probabilities,
            prevalence=config.prevalence,
        )
        before = before_postprocessing(predictions, evaluation.level)
        write_report(out_dir / "report.html", evaluation, levels, before, pictures, mask_results)
        write_model_card(
            out_dir / "model_card.md", evaluation, config.work_dir, predictor, manifest
        )
    _LOG.info("results in %s", out_dir)
    return evaluation


def _warn_uncalibrated(config: EvaluateConfig) -> None:
    _LOG.warning(
        "%s: not calibrated, so that there are no operating points. Run python -m "
        "ich_tf.calibrate --data_dir=%s --work_dir=%s",
        *(config.work_dir, config.data_dir, config.work_dir),
    )


def _results_dir(config: EvaluateConfig, manifest: Manifest) -> Path:
    """The folder of the results; for other data than the run's, a folder beside the run's own."""
    folder = config.results_dir
    if config.out_dir or same_data(config.work_dir, manifest):
        return folder
    return folder.with_name(f"{config.split}-{manifest.fingerprint()['sha256'][:8]}")


def _areas_mm2(masks: Masks, predictions: SlicePredictions) -> dict[str, float]:
    """Slice -> area of its bleeds, mm2; slices without a mask are missing."""
    areas = {}
    for source_id, spacing in zip(predictions.source_id, predictions.spacing_mm, strict=True):
        mask = masks.read(source_id)
        if mask is not None:
            areas[source_id] = area_mm2(mask[ANY], tuple(spacing))
    return areas
