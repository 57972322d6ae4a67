"""Results of evaluations, as a comparison reads them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ich_tf.comparison.comparison import compare
from ich_tf.comparison.config import CompareConfig
from ich_tf.evaluation.exams import exams_table
from ich_tf.evaluation.result import Evaluation, predictions_table, score
from ich_tf.inference.exams import exams_of
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.aggregation import at_levels
from ich_tf.inference.postprocessing.fitting import fit_postprocessing
from ich_tf.runtime.files import write_json
from tests.support.made_up import made_up


def half_ill(seed: int) -> SlicePredictions:
    """Made-up patients, every other one without a bleed."""
    predictions = made_up(seed)
    is_ill = (np.arange(len(predictions)) // 12 % 2 == 0)[:, None]
    labels = predictions.labels * is_ill
    exam_labels, label_level = exams_of(labels, predictions.series_key)
    return dataclasses.replace(
        predictions,
        labels=labels,
        exam_labels=exam_labels,
        label_level=label_level,
        logits=predictions.logits - 1.5 * ~is_ill,
    )


def evaluated(folder: Path, smoothing_mm: float) -> Evaluation:
    """Writes what evaluate writes of made-up predictions."""
    predictions = half_ill(0)
    steps = fit_postprocessing(
        [half_ill(1)], model_sha256="x", method="platt", smoothing_mm=smoothing_mm
    )
    prob = steps.probabilities(predictions.by_group, predictions.z_mm, predictions.series_key)
    levels = at_levels(
        predictions.labels, prob, predictions.series_key, predictions.patient_key, None,
        predictions.exam_labels,
    )  # fmt: skip
    model = {"postprocessing": steps.describe(), "seen": "not seen"}
    result = score("test", predictions, levels, steps, prior=np.full(6, 0.2), model=model)
    out = folder / "evaluation/test"
    out.mkdir(parents=True)
    predictions_table(predictions, prob).to_csv(out / "predictions.csv", index=False)
    exams_table(predictions, prob, None).to_csv(out / "exams.csv", index=False)
    write_json(out / "metrics.json", result.content())
    return result


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation, Evaluation]:
    """A folder with two evaluated runs."""
    folder = tmp_path_factory.mktemp("runs")
    return folder, evaluated(folder / "old", 0), evaluated(folder / "new", 10)


@pytest.mark.parametrize(("level", "as_evaluated"), [("slice", "slice"), ("exam", "series_max")])
def test_a_comparison_repeats_the_scores_of_the_evaluations(
    level: str, as_evaluated: str, runs: tuple[Path, Evaluation, Evaluation], tmp_path: Path
) -> None:
    folder, old, new = runs
    result = compare(
        CompareConfig(
            models=(f"old={folder}/old", f"new={folder}/new"),
            level=level,
            num_resamples=100,
            out_dir=str(tmp_path / "out"),
        )
    )
    by_metric = {each.metric: each for each in result.differences}
    (decisions,) = result.decisions
    for scores, loss, auc, threshold, rate in (
        (
            old,
            by_metric["weighted_log_loss"].reference_value,
            by_metric["roc_auc"].reference_value,
            decisions.reference_threshold,
            decisions.sensitivity.reference_value,
        ),
        (
            new,
            by_metric["weighted_log_loss"].model_value,
            by_metric["roc_auc"].model_value,
            decisions.model_threshold,
            decisions.sensitivity.model_value,
        ),
    ):
        expected = scores.levels[as_evaluated]
        any_class = expected.classes["any"]
        assert loss == pytest.approx(expected.weighted_log_loss.value, abs=1e-9)
        assert auc == pytest.approx(any_class.roc_auc.value, abs=1e-9)
        assert threshold == any_class.points["youden"].threshold
        assert rate == pytest.approx(any_class.points["youden"].sensitivity.value)
