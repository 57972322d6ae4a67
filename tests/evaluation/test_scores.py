"""The numbers of an evaluation, against scikit-learn and counting by hand."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import sklearn.metrics

from ich_tf.evaluation.result import score
from ich_tf.evaluation.scores import IntervalEstimate, estimate
from ich_tf.evaluation.subgroups import divide
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.aggregation import at_levels
from ich_tf.inference.postprocessing.fitting import choose_thresholds, fit_postprocessing
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics import sigmoid, weighted_log_loss
from tests.support.made_up import made_up


@pytest.fixture(scope="module")
def predictions() -> SlicePredictions:
    return made_up()


def levels_of(predictions, prob):
    return at_levels(predictions.labels, prob, predictions.series_key, predictions.patient_key)


@pytest.fixture(scope="module")
def evaluation(predictions):
    after = fit_postprocessing([made_up(1)], model_sha256="x", method="platt", smoothing_mm=0)
    prob = after.probabilities(predictions.by_group, predictions.z_mm, predictions.series_key)
    return (
        score(
            "test",
            predictions,
            levels_of(predictions, prob),
            after,
            prior=np.full(6, 0.2),
            model={},
            prevalence=0.1,
            num_resamples=200,
            areas_mm2={"ID_0": 50.0, "ID_1": 500.0},
        ),
        prob,
        after,
    )


def test_slices_equal_scikit_learn(predictions: Any, evaluation: Any) -> None:
    scored, prob, postprocessing = evaluation
    level = scored.levels["slice"]
    assert scored.loss == pytest.approx(weighted_log_loss(predictions.labels, prob), abs=1e-12)
    for i, name in enumerate(CLASSES):
        truth, p = predictions.labels[:, i], prob[:, i]
        scores = level.classes[name]
        assert scores.log_loss.value == pytest.approx(sklearn.metrics.log_loss(truth, p), abs=1e-12)
        assert scores.roc_auc.value == pytest.approx(sklearn.metrics.roc_auc_score(truth, p))
        assert scores.average_precision.value == pytest.approx(
            sklearn.metrics.average_precision_score(truth, p)
        )
        assert scores.brier_score.value == pytest.approx(sklearn.metrics.brier_score_loss(truth, p))
        assert scores.constant_log_loss == pytest.approx(
            sklearn.metrics.log_loss(truth, np.full(len(p), 0.2))
        )
        assert scores.roc_auc.low < scores.roc_auc.value < scores.roc_auc.high
        for rule, point in scores.points.items():
            assert point.threshold == postprocessing.thresholds["slice"][rule][name]
            ((tn, fp), (fn, tp)) = sklearn.metrics.confusion_matrix(truth, p >= point.threshold)
            assert (point.true_positives, point.false_positives) == (tp, fp)
            assert (point.false_negatives, point.true_negatives) == (fn, tn)
            assert point.sensitivity.value == pytest.approx(tp / (tp + fn))
            assert point.specificity.value == pytest.approx(tn / (tn + fp))
            sick, well = scores.prevalence, 1 - scores.prevalence
            positive = sick * tp / (tp + fn), well * fp / (tn + fp)
            assert point.ppv.value == pytest.approx(positive[0] / sum(positive))
            negative = sick * fn / (tp + fn), well * tn / (tn + fp)
            assert point.npv.value == pytest.approx(negative[1] / sum(negative))
    assert level.classes["any"].prevalence == pytest.approx(0.1)


def test_series_and_patients_are_pooled(predictions: Any, evaluation: Any) -> None:
    scored, prob, _ = evaluation
    by_series = prob.reshape(-1, 6, 6)
    truth = predictions.labels.reshape(-1, 6, 6).max(axis=1)
    assert scored.levels["series_max"].weighted_log_loss.value == pytest.approx(
        weighted_log_loss(truth, by_series.max(axis=1))
    )
    assert scored.levels["series_noisy_or"].weighted_log_loss.value == pytest.approx(
        weighted_log_loss(truth, 1 - np.prod(1 - by_series, axis=1))
    )
    assert scored.levels["patient_max"].number == scored.num_patients == 30
    assert scored.levels["patient_max"].constant_loss <= np.log(2)


def test_subgroups_cover_the_slices(predictions: Any, evaluation: Any) -> None:
    scored, prob, _ = evaluation
    families = divide(predictions, {})
    for family in ("scanner", "gantry", "distance between slices"):
        assert sum(groups.sum() for groups in families[family].values()) == len(predictions)
    bleeds = int(predictions.labels[:, ANY].sum())
    extent = families["extent of the bleed along the series"].values()
    assert sum(groups.sum() for groups in extent) == bleeds
    (ge,) = [group for group in scored.subgroups if group.name == "GE"]
    rows = np.array(predictions.scanner) == "GE"
    assert ge.num_slices == rows.sum() and ge.num_patients == 15
    assert ge.weighted_log_loss.value == pytest.approx(
        weighted_log_loss(predictions.labels[rows], prob[rows])
    )
    assert ge.roc_auc.value == pytest.approx(
        sklearn.metrics.roc_auc_score(predictions.labels[rows, ANY], prob[rows, ANY])
    )
    areas = [group for group in scored.subgroups if group.family.startswith("area")]
    expected = [int(predictions.labels[i, ANY]) for i in (0, 1)]
    assert sum(group.num_slices for group in areas) == sum(expected)


def test_what_is_not_defined_is_none_in_json_and_said_so(predictions: Any) -> None:
    labels = predictions.labels.copy()
    labels[:, 0] = 0
    lacking = dataclasses.replace(predictions, labels=labels)
    after = fit_postprocessing([lacking], model_sha256="", smoothing_mm=0)
    assert after.thresholds["slice"]["youden"]["epidural"] is None
    prob = after.probabilities(lacking.by_group, lacking.z_mm, lacking.series_key)
    scored = score(
        "t", lacking, levels_of(lacking, prob), after, prior=np.full(6, 0.2), num_resamples=20,
        model={"postprocessing": "", "seen": ""},
    )  # fmt: skip
    epidural = scored.levels["slice"].classes["epidural"]
    assert epidural.roc_auc == IntervalEstimate(None, None, None, 0) and epidural.points == {}
    assert epidural.roc_auc.text() == "undefined" and "undefined" in scored.report()
    assert epidural.log_loss.value is not None
    json.dumps(dataclasses.asdict(scored), allow_nan=False)


def test_without_calibration_there_are_no_points_and_without_resamples_no_intervals(
    predictions: Any,
) -> None:
    prob = sigmoid(predictions.logits)
    levels = levels_of(predictions, prob)
    scored = score("t", predictions, levels, Postprocessing(), prior=np.full(6, 0.2), model={})
    any_class = scored.levels["slice"].classes["any"]
    assert any_class.points == {} and any_class.roc_auc.low is None
    assert all(group.sensitivity.value is None for group in scored.subgroups)


@pytest.mark.parametrize(("number", "few"), [(9, None), (12, True), (30, False)])
def test_intervals_from_few_patients_name_them_or_are_left_out(
    number: int, few: bool | None
) -> None:
    values = np.random.default_rng(0).normal(size=number)
    (found,) = estimate(lambda w: w @ values[:, None] / w.sum(1)[:, None], np.arange(number), 200)
    assert found.num_patients == number
    assert found.text().endswith(f"; {number} patients]") == bool(few)
    assert (found.low is None) == (few is None)


def test_a_sensitivity_rests_on_the_patients_with_the_class(predictions: Any) -> None:
    """Of 30 patients 11 bleed in the slices that are left."""
    labels = predictions.labels.copy()
    keys = np.asarray(predictions.patient_key)
    ill = [key for key in dict.fromkeys(keys) if labels[keys == key, ANY].any()][:11]
    labels[~np.isin(keys, ill)] = 0
    fewer = dataclasses.replace(predictions, labels=labels)
    after = fit_postprocessing([made_up(1)], model_sha256="", method="platt", smoothing_mm=0)
    prob = after.probabilities(fewer.by_group, fewer.z_mm, fewer.series_key)
    scored = score(
        "t", fewer, levels_of(fewer, prob), after, prior=np.full(6, 0.2), num_resamples=50,
        model={"postprocessing": "", "seen": ""},
    )  # fmt: skip
    bleed = scored.levels["slice"].classes["any"]
    point = bleed.points["youden"]
    assert "; 11 patients]" in point.sensitivity.text() and "; 11" in bleed.roc_auc.text()
    assert bleed.log_loss.num_patients == 30 and "patients" not in bleed.log_loss.text()
    assert "; 11 patients]" in scored.report()


def test_a_biased_score_has_no_interval_beside_it(evaluation: Any) -> None:
    scored, _, _ = evaluation
    slices = scored.levels["slice"].classes["any"]
    assert slices.calibration_error.value is not None and slices.calibration_error.low is None
    assert slices.brier_score.low is not None
    patients = np.arange(40)
    # The maximum of a resample is never above the sample's; this one is always above its value.
    (found,) = estimate(lambda w: np.abs(w - 1).sum(1)[:, None], patients, 100)
    assert (found.value, found.low) == (0, None)


@pytest.mark.slow
def test_intervals_that_are_shown_cover_the_truth() -> None:
    """Flagged ones in nine of ten simulated sets of patients, others in 19 of 20."""
    rng = np.random.default_rng(0)
    for number, least in ((12, 0.82), (40, 0.9), (100, 0.92)):
        covered = 0
        for _ in range(200):
            patient = np.repeat(np.arange(number), 20)
            severity = rng.normal(size=number)[patient] + rng.normal(size=len(patient))
            (found,) = estimate(lambda w, s=severity: (w @ s / w.sum(1))[:, None], patient, 200)
            covered += found.low <= 0 <= found.high
        assert covered >= least * 200


def test_thresholds_are_the_validation_patients(predictions: Any) -> None:
    prob = sigmoid(predictions.logits)
    thresholds = choose_thresholds(levels_of(predictions, prob))
    truth = predictions.labels[:, ANY] > 0
    positive = prob[:, ANY] >= thresholds["slice"]["sensitivity_95"]["any"]
    assert positive[truth].mean() >= 0.95
    positive = prob[:, ANY] >= thresholds["slice"]["specificity_95"]["any"]
    assert (~positive)[~truth].mean() >= 0.95


def test_smoothing_is_chosen_where_it_helps() -> None:
    rng = np.random.default_rng(2)
    base = made_up(3)
    clean = np.repeat(rng.normal(0, 2, (60, 6)), 6, axis=0)
    labels = (rng.uniform(size=clean.shape) < sigmoid(clean)).astype(np.float32)
    noisy = dataclasses.replace(
        base, labels=labels, logits=(clean + rng.normal(0, 2, clean.shape)).astype(np.float32)
    )
    fitted = fit_postprocessing([noisy], model_sha256="")
    assert fitted.smoothing_mm > 3
    assert fitted.fitted_on["loss_after"] < fitted.fitted_on["loss_before"]
    alone = dataclasses.replace(noisy, logits=clean.astype(np.float32),
                                z_mm=np.arange(len(clean), dtype=np.float32) * 1000)  # fmt: skip
    assert fit_postprocessing([alone], model_sha256="").smoothing_mm == 0
