"""Calibration by labels of exams: of exams, of their slices, and at a site."""

import dataclasses

import numpy as np
import pytest

from ich_tf.inference.few_labels import fit_at_site
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.calibration_file import load_postprocessing
from ich_tf.inference.postprocessing.calibrators import METHODS, fit_platt
from ich_tf.inference.postprocessing.fitting import fit_postprocessing, mixed_examples
from ich_tf.inference.postprocessing.mixture import fit_shares
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.inference.postprocessing.site import fit_site
from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics import known_log_loss, sigmoid
from tests.support.made_up import made_up, of_exams


def with_series(predictions: SlicePredictions, seed: int = 3) -> SlicePredictions:
    """Adds a series model that is better at exams than its slices are."""
    rng = np.random.default_rng(seed)
    exams = np.nan_to_num(predictions.exam_labels[::6], nan=0.5)
    whole = np.repeat(3 * exams - 2 + rng.normal(0, 1, exams.shape), 6, axis=0)
    return dataclasses.replace(predictions, series_logits=whole[None])


def test_unknown_labels_have_no_part_in_a_fit_and_shares_lie_between() -> None:
    predictions = of_exams(made_up(), 1.0)
    labels, logits = predictions.labels.astype(float), predictions.logits
    known = np.arange(len(labels)) % 3 > 0
    unknown = np.where(known[:, None], labels, np.nan)
    for fit in METHODS.values():
        alone = fit(labels[known], logits[known])
        np.testing.assert_allclose(fit(unknown, logits)(logits), alone(logits), atol=1e-8)
    # Two readers who disagree are an example of each kind, but for Platt's targets.
    shares, twice = (
        np.tile([[0.5], [1.0]], (300, 6)),
        np.tile([[0.0], [1.0], [1.0], [1.0]], (300, 6)),
    )
    z = np.tile([[-1.0], [1.0]], (300, 6))
    found = fit_platt(shares, z)(z[:2])
    assert found == pytest.approx(fit_platt(twice, np.repeat(z, 2, axis=0))(z[:2]), abs=0.01)


def test_exams_calibrate_the_slices_of_which_none_is_labelled() -> None:
    predictions = of_exams(made_up(patients=60))
    fitted = fit_postprocessing([predictions], model_sha256="a", method="platt")
    assert fitted.smoothing_mm == 0 and fitted.weak_classes == CLASSES
    assert "weakly supervised: calibrated as exams are" in fitted.describe()
    first = predictions.exam_labels[::6]
    pooled = predictions.logits.reshape(-1, 6, 6).max(axis=1)
    assert fitted.groups[0].calibrator == fit_platt(first, pooled)
    assert "slice" not in fitted.thresholds and fitted.threshold("series_max", "any") is not None
    assert fitted.threshold("series_max", "epidural") is None, "nothing is known of it"
    assert fitted.fitted_on["num_exams"] == 120 and not fitted.fitted_on["num_labelled_slices"]
    assert fitted.fitted_on["loss_after"] < fitted.fitted_on["loss_before"]


def test_a_series_model_lends_its_calibrator_and_the_file_says_so(tmp_path) -> None:
    predictions = with_series(of_exams(made_up(patients=60)))
    fitted = fit_postprocessing([predictions], model_sha256="a", method="platt")
    (group,) = fitted.groups
    assert group.calibrator == group.series_calibrator
    expected = fit_platt(predictions.exam_labels[::6], predictions.series_logits[0, ::6])
    assert group.series_calibrator == expected
    assert fitted.threshold("series_model", "any") is not None
    fitted.save(tmp_path)
    assert load_postprocessing(tmp_path, "a").weak_classes == CLASSES


def test_mixed_sets_calibrate_slices_by_slices_where_they_can() -> None:
    predictions = with_series(of_exams(made_up(patients=60), 0.5))
    labels = predictions.labels.copy()
    labels[:, 1] = np.nan
    predictions = dataclasses.replace(predictions, labels=labels)
    fitted = fit_postprocessing([predictions], model_sha256="a", method="platt", smoothing_mm=0)
    assert fitted.weak_classes == (CLASSES[1],)
    known = ~np.isnan(labels[:, ANY])
    by_slices = fit_platt(labels[known], predictions.logits[known])
    (group,) = fitted.groups
    assert group.calibrator == by_slices.with_classes_of(group.series_calibrator, [1])
    assert fitted.threshold("slice", "any") is not None
    assert f"weakly supervised for {CLASSES[1]}" in fitted.describe()
    whole = fit_postprocessing([of_exams(made_up(), 1.0)], model_sha256="a")
    assert not whole.weak_classes and "num_exams" not in whole.fitted_on


def test_folds_without_labels_of_slices_are_calibrated_with_those_that_have_them() -> None:
    parts = [of_exams(made_up(1, 40), 1.0), of_exams(made_up(2, 40))]
    for method in ("temperature", "platt"):
        fitted = fit_postprocessing(
            parts, model_sha256="a", members=(("a",), ("b",)), shares=(0.5, 0.5),
            method=method, smoothing_mm=0,
        )  # fmt: skip
        first, second = (group.calibrator for group in fitted.groups)
        assert first.scale == pytest.approx(second.scale) and not fitted.weak_classes


def test_shares_of_models_follow_from_exams() -> None:
    good = with_series(of_exams(made_up(patients=60)))
    bad = dataclasses.replace(good, series_logits=-good.series_logits)
    examples = [mixed_examples(each) for each in (good, bad)]
    shares = fit_shares(examples[0].labels, np.stack([each.probabilities for each in examples]))
    assert shares[0] > 0.9 and shares.sum() == pytest.approx(1)
    np.testing.assert_array_equal(examples[0].labels, good.exam_labels[::6])


@pytest.mark.parametrize("series_model", [False, True])
def test_a_site_with_labels_of_exams_moves_the_probabilities(series_model: bool) -> None:
    predictions = of_exams(made_up(5, 60))
    predictions = with_series(predictions) if series_model else predictions
    former = {level: {"youden": dict.fromkeys(CLASSES, 0.5)} for level in ("slice", "series_max")}
    before = Postprocessing(thresholds=former, fitted_on={"num_patients": 1})
    fitted = fit_at_site(before, predictions, "ab", ["fold-0"])
    if series_model:
        prob = sigmoid(predictions.series_logits[0, ::6])
        after = fitted.series_probabilities(predictions.series_logits)[::6]
    else:
        prob = predictions.probabilities.reshape(-1, 6, 6).max(axis=1)
        after = (
            fitted.probabilities(predictions.by_group, predictions.z_mm, predictions.series_key)
            .reshape(-1, 6, 6)
            .max(axis=1)
        )
    labels, patients = predictions.exam_labels[::6], predictions.patient_key[::6]
    expected = fit_site(labels, prob, patients).calibrator
    assert fitted.site == expected
    np.testing.assert_allclose(after, expected(prob))
    assert known_log_loss(labels, after) < known_log_loss(labels, prob)
    assert fitted.fitted_on["num_exams"] == 120 and "epidural" not in fitted.fitted_on["chosen"]
    moved = fitted.threshold("slice", "any")
    assert moved == expected(np.full((1, 6), 0.5))[0, ANY], "no slice told a better one"
