"""A work dir's model, a split of a data dir -> scores, a table, a report and a model card."""

from __future__ import annotations

import dataclasses
import logging

from ich_tf.evaluation.config import EvaluateConfig
from ich_tf.evaluation.heat_maps import measure_heat_maps, pick_slices
from ich_tf.evaluation.leakage import same_data, seen_before
from ich_tf.evaluation.masks import Masks, area_mm2
from ich_tf.evaluation.model_card import write_model_card
from ich_tf.evaluation.report import write_report
from ich_tf.evaluation.result import Evaluation, predictions_table, score
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.aggregation import at_levels
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.labels import ANY
from ich_tf.metrics import sigmoid
from ich_tf.records.manifest import Manifest
from ich_tf.runtime.files import write_json, write_text
from ich_tf.runtime.strategies import make_strategy

_LOG = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Scores the model of a work dir; writes its results, and says where.

    metrics.json, summary.txt and predictions.csv; report.html and model_card.md unless unwanted.

    Raises:
      InputError: If data and model do not match, or either cannot be read.
    """
    manifest = Manifest.load(config.data_dir)
    manifest.split_shards(config.split)
    masks = Masks(config.masks_dir) if config.masks_dir else None
    strategy = make_strategy("mirrored")
    predictor = load_predictor(config.work_dir, strategy, calibrated=config.calibrated)
    predictor.check_data(manifest, config.work_dir)
    seen = seen_before(config.work_dir, manifest, config.split)
    after = predictor.postprocessing
    if config.calibrated and not after.is_fitted:
        _LOG.warning(
            "%s: not calibrated, so that there are no operating points. Run python -m "
            "ich_tf.calibrate --data_dir=%s --work_dir=%s",
            *(config.work_dir, config.data_dir, config.work_dir),
        )
    predictions = predictor.predict_split(manifest, config.split, config.batch_size)
    probabilities = after.probabilities(
        predictions.logits, predictions.z_mm, predictions.series_key
    )
    levels = at_levels(
        predictions.labels,
        probabilities,
        predictions.series_key,
        predictions.patient_key,
        after.series_probabilities(predictions.series_logits),
    )
    out_dir = config.results_dir
    if not config.out_dir and not same_data(config.work_dir, manifest):
        # Beside the results on the run's own data, not over them.
        sha256 = manifest.fingerprint()["sha256"]
        out_dir = out_dir.with_name(f"{config.split}-{sha256[:8]}")
    out_dir.mkdir(parents=True, exist_ok=True)
    write_text(
        out_dir / "predictions.csv",
        predictions_table(predictions, probabilities).to_csv(index=False),
    )
    evaluation = score(
        config.split,
        predictions,
        levels,
        after,
        prior=predictor.prior,
        model={
            "work_dir": str(config.work_dir),
            "sha256": predictor.sha256,
            "postprocessing": after.describe(),
            "seen": seen,
        },
        prevalence=config.prevalence,
        num_resamples=config.bootstrap,
        areas_mm2=_areas(masks, predictions) if masks else None,
    )
    if masks:
        found = measure_heat_maps(predictor, manifest, config.split, predictions, masks)
        evaluation = dataclasses.replace(evaluation, localization=found)
    write_json(out_dir / "metrics.json", dataclasses.asdict(evaluation))
    write_text(out_dir / "summary.txt", evaluation.report() + "\n")
    if config.report:
        pictures = pick_slices(predictor, manifest, config.split, predictions, probabilities)
        write_report(
            out_dir / "report.html", evaluation, levels, sigmoid(predictions.logits), pictures
        )
        write_model_card(out_dir / "model_card.md", evaluation, config.work_dir, predictor)
    _LOG.info("results in %s", out_dir)
    return evaluation


def _areas(masks: Masks, predictions: SlicePredictions) -> dict[str, float]:
    found = {}
    for source_id, spacing in zip(predictions.source_id, predictions.spacing_mm, strict=True):
        mask = masks.read(source_id)
        if mask is not None:
            found[source_id] = area_mm2(mask[ANY], tuple(spacing))
    return found
