"""Calibration at a site: what few labels say, what they must not say, and what is written."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from ich_tf.errors import ConfigError, InputError
from ich_tf.inference.config import CalibrateConfig
from ich_tf.inference.exams import exams_of
from ich_tf.inference.few_labels import calibrate_few, fit_at_site, without_site
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.calibrators import fit_platt
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.inference.postprocessing.site import (
    CLASS_SD,
    CORRELATION,
    SHIFT_SD,
    SLOPE_SD,
    SiteCalibrator,
    cross_validated_loss,
    fit_site,
    logits_of,
    slice_weights,
)
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics import sigmoid, weighted_log_loss
from ich_tf.runtime.strategies import make_strategy
from tests.support.commands import Command
from tests.support.evaluations import evaluation


def site(
    rng: np.random.Generator, num_patients: int, slope: float = 0.5, shift: float = -2.0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels, probabilities of a model that is too sure there, and patients of ten slices each."""
    patients = [f"p{number}" for number in range(num_patients) for _ in range(10)]
    z = rng.normal(-1, 3, (len(patients), 6))
    truth = sigmoid(slope * z + shift + np.repeat(rng.normal(0, 0.7, (num_patients, 6)), 10, 0))
    return (rng.uniform(size=z.shape) < truth).astype(np.float32), sigmoid(z), patients


def test_the_fit_is_the_mode_of_a_penalized_likelihood() -> None:
    labels, predicted, patients = site(np.random.default_rng(0), 8)
    z, weights = logits_of(predicted), slice_weights(patients)[:, None] / 3
    means = z.mean(axis=0)

    def objective(theta: np.ndarray) -> float:
        logits = theta[0] * (z - means) + means + theta[1] + theta[2:]
        loss = np.sum(weights * (np.logaddexp(0, logits) - labels * logits))
        penalty = [(theta[0] - 1) / SLOPE_SD, theta[1] / SHIFT_SD, *theta[2:] / CLASS_SD]
        return float(loss + 0.5 * np.square(penalty).sum())

    best = minimize(objective, np.eye(8)[0], method="BFGS", options={"gtol": 1e-8})
    fit = fit_site(labels, predicted, patients)
    assert fit.calibrator.slope == pytest.approx(best.x[0], abs=1e-4)
    np.testing.assert_allclose(fit.shift_at_mean, best.x[1] + best.x[2:], atol=1e-4)
    expected = sigmoid(best.x[0] * (z - means) + means + best.x[1] + best.x[2:])
    np.testing.assert_allclose(fit.calibrator(predicted), expected, atol=1e-4)
    # The inverse of the second derivatives, which BFGS only guesses.
    assert fit.slope_interval[0] < best.x[0] < fit.slope_interval[1]
    half = 1.96 * best.hess_inv[0, 0] ** 0.5
    assert fit.slope_interval[1] - fit.calibrator.slope == pytest.approx(half, rel=0.3)


def test_few_labels_help_on_other_patients_and_more_than_a_fit_without_a_prior() -> None:
    rng = np.random.default_rng(1)
    new_labels, new, _ = site(rng, 300)
    before = weighted_log_loss(new_labels, new)
    losses, without_prior = [], []
    for _ in range(6):
        labels, predicted, patients = site(rng, 5)
        fit = fit_site(labels, predicted, patients)
        losses.append(weighted_log_loss(new_labels, fit.calibrator(new)))
        platt = fit_platt(labels, logits_of(predicted))
        without_prior.append(weighted_log_loss(new_labels, platt(logits_of(new))))
    assert np.mean(losses) < 0.75 * before
    assert np.mean(losses) < np.mean(without_prior)
    many = site(rng, 300)
    best = weighted_log_loss(new_labels, fit_site(*many).calibrator(new))
    assert best < np.mean(losses) < 1.15 * best
    assert fit_site(*many).calibrator.slope == pytest.approx(0.5, abs=0.05)
    assert cross_validated_loss(*many) == pytest.approx(best, rel=0.05)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    fits = [fit_site(*site(rng, 20, slope=0.8, shift=-0.5)) for _ in range(40)]
    held = [fit.slope_interval[0] <= 0.8 <= fit.slope_interval[1] for fit in fits]
    assert np.mean(held) >= 0.9


def test_a_class_that_nobody_has_and_a_model_that_is_always_wrong() -> None:
    labels, predicted, patients = site(np.random.default_rng(3), 6)
    labels[:, 0] = 0
    fit = fit_site(labels, predicted, patients)
    probabilities = fit.calibrator(predicted)
    assert 0 < probabilities[:, 0].mean() < predicted[:, 0].mean()
    reversed_ = fit_site((predicted < 0.5).astype(np.float32), predicted, patients).calibrator
    assert reversed_.slope == pytest.approx(0.05), "the order of the slices stays"
    certain = np.array([[0.0, 1.0, 0.5, 0.0, 1.0, 1.0]] * 20)
    fit = fit_site(np.ones((20, 6)), certain, ["a", "b"] * 10)
    assert np.isfinite(fit.calibrator(certain)).all()
    assert slice_weights(["a"] * 11 + ["b"]).tolist() == [1 / (1 + 10 * CORRELATION)] * 11 + [1]
    with pytest.raises(ValueError, match="slope 0"):
        SiteCalibrator(0.0)
    with pytest.raises(ValueError, match="all one"):
        cross_validated_loss(labels, predicted, ["a"] * len(labels))


def test_thresholds_move_along_or_are_chosen_and_series_have_a_fit_of_their_own() -> None:
    labels, predicted, patients = site(np.random.default_rng(4), 24)
    # Six patients at most have the first class, and half of them each other one.
    labels[60:, 0], labels[:120:10, 1:], labels[120:] = 0, 1, 0
    whole = np.repeat(np.random.default_rng(5).normal(size=(24, 6)), 10, axis=0)
    exam_labels, label_level = exams_of(labels, patients)
    slices = SlicePredictions(
        source_id=[str(number) for number in range(240)],
        patient_key=patients,
        series_key=patients,
        scanner=["s"] * 240,
        slice_index=np.arange(240),
        z_mm=np.tile(np.arange(10.0), 24),
        spacing_mm=np.ones((240, 2)),
        gantry_tilt_deg=np.zeros(240),
        labels=labels,
        exam_labels=exam_labels,
        label_level=label_level,
        logits=logits_of(predicted),
        series_logits=whole[None],
    )
    former = {level: {"youden": {"epidural": 0.4}} for level in ("slice", "series_noisy_or")}
    before = Postprocessing(thresholds=former, fitted_on={"num_patients": 1})
    fitted = fit_at_site(before, slices, "ab", ["fold-0"])
    assert fitted.fitted_on["chosen"] == list(CLASSES[1:])
    moved = fitted.threshold("slice", "epidural")
    after = fitted.probabilities(slices.by_group, slices.z_mm, patients)[:, 0]
    assert moved != 0.4 and ((after >= moved) == (predicted[:, 0] >= 0.4)).all()
    assert fitted.threshold("series_noisy_or", "epidural") is None, "it adds slices up"
    truth, scores = (
        labels[:, ANY] == 1,
        fitted.probabilities(slices.by_group, slices.z_mm, patients),
    )
    marked = scores[:, ANY] >= fitted.threshold("slice", "any")
    assert marked[truth].mean() - marked[~truth].mean() > 0.1
    first = slice(None, None, 10)
    by_series = labels.reshape(24, 10, 6).max(axis=1)
    expected = fit_site(by_series, sigmoid(whole[first]), patients[first]).calibrator
    assert fitted.site_series == expected != fitted.site
    assert without_site(fitted) == dataclasses.replace(before, model_sha256="ab")


@pytest.fixture
def stranger(work_copy: Path) -> Path:
    """A run on other patients than those of `data_dir`, by what it notes of them."""
    path = work_copy / "run.json"
    content = json.loads(path.read_text())
    content["patients"] = {
        data: {fold: [f"{number:016x}" for number in range(9)] for fold in folds}
        for data, folds in content["patients"].items()
    }
    path.write_text(json.dumps(content))
    return work_copy


def few(data_dir: Path, work_dir: Path, **changes) -> CalibrateConfig:
    return CalibrateConfig(data_dir=str(data_dir), work_dir=str(work_dir), few=True, **changes)


@pytest.mark.slow
def test_a_model_is_adapted_and_again_from_where_it_came(
    run_command: Command, data_dir: Path, stranger: Path
) -> None:
    before = evaluation(data_dir, stranger, "fold-1")
    done = run_command(
        "ich_tf.calibrate", "--few", f"--data_dir={data_dir}", f"--work_dir={stranger}"
    )
    assert "after, on patients that it was not fitted on" in done.stdout
    first = (stranger / "calibration.json").read_text("utf-8")
    calibration = calibrate_few(few(data_dir, stranger))
    assert (stranger / "calibration.json").read_text("utf-8") == first, "from the same start"
    fitted = calibration.postprocessing
    assert fitted.site is not None and fitted.site_series is None
    assert fitted.fitted_on["splits"] == ["fold-0", "fold-1", "fold-2"], "the test split is left"
    loaded = load_predictor(stranger, make_strategy("one")).postprocessing
    assert loaded == fitted and "then at a site by" in loaded.describe()
    after = evaluation(data_dir, stranger, "fold-1")
    assert fitted.fitted_on["loss_after"] < fitted.fitted_on["loss_before"]
    assert after.loss != before.loss, "evaluate applies it"
    assert after.levels["slice"].classes["any"].roc_auc.value == pytest.approx(
        before.levels["slice"].classes["any"].roc_auc.value
    )
    assert fitted.prevalence != pytest.approx(0.5)
    assert set(fitted.fitted_on["shift"]) == set(CLASSES)
    assert fitted.thresholds["slice"]["youden"].keys() == set(CLASSES)


def test_patients_that_the_model_knows_are_refused(data_dir: Path, work_copy: Path) -> None:
    with pytest.raises(InputError, match=r"trained or chosen on; --few takes patients of another"):
        calibrate_few(few(data_dir, work_copy))
    with pytest.raises(ConfigError, match=r"method is 'platt'; it must be 'auto' with --few"):
        few(data_dir, work_copy, method="platt")
