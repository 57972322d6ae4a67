import functools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import InputError
from ich_tf.inference.exams import exams_of
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.calibration_file import load_postprocessing
from ich_tf.inference.postprocessing.calibrators import METHODS, Calibrator
from ich_tf.inference.postprocessing.fitting import fit_postprocessing
from ich_tf.inference.postprocessing.mixture import mix_logits
from ich_tf.inference.postprocessing.postprocessing import (
    Group,
    Postprocessing,
    group_rows,
)
from ich_tf.metrics import sigmoid, weighted_log_loss
from ich_tf.models.run_files import CALIBRATION
from tests.support.marks import slow

FITTED = Postprocessing(
    model_sha256="ab",
    flip=True,
    smoothing_mm=4.0,
    groups=(Group(Calibrator("temperature", scale=(0.5,) * 6)),),
    prevalence=0.3,
    thresholds={"slice": {"youden": {"any": 0.25, "epidural": None}}},
    fitted_on={"num_slices": 10},
)
LOGITS = np.random.default_rng(0).normal(size=(8, 6))


IDENTITY = {"method": "none", "scale": [1] * 6, "offset": [0] * 6, "knots": []}
GROUP = {"calibrator": IDENTITY, "series_calibrator": IDENTITY, "members": [], "share": 1}


def test_saved_and_read_it_is_the_same(tmp_path: Path) -> None:
    FITTED.save(tmp_path)
    loaded = load_postprocessing(tmp_path, "ab")
    assert loaded == FITTED
    assert load_postprocessing(tmp_path / "other", "ab") is None


def test_the_steps_in_their_order() -> None:
    z_mm = np.arange(8) * 4.0
    probabilities = FITTED.probabilities(LOGITS[None], z_mm, ["s"] * 8)
    weight = np.exp(-0.5 * ((z_mm[:, None] - z_mm) / 4) ** 2)
    smoothed = weight @ sigmoid(LOGITS) / weight.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, sigmoid(0.5 * np.log(smoothed / (1 - smoothed))))
    rarer = FITTED.probabilities(LOGITS[None], z_mm, ["s"] * 8, prevalence=0.05)
    assert (rarer < probabilities).all()
    plain = Postprocessing().probabilities(LOGITS[None], z_mm, ["s"] * 8)
    np.testing.assert_allclose(plain, sigmoid(LOGITS))


def test_in_words() -> None:
    assert FITTED.describe() == (
        "calibrated by temperature, mean of slice and mirror image, smoothed over 4 mm along the "
        "series"
    )
    assert Postprocessing().describe() == "not calibrated"
    assert FITTED.threshold("slice", "any") == 0.25
    assert FITTED.threshold("slice", "epidural") is None
    assert FITTED.threshold("series_max", "any") is None


def test_of_other_weights_it_is_refused(tmp_path: Path) -> None:
    FITTED.save(tmp_path)
    with pytest.raises(InputError, match="other weights"):
        load_postprocessing(tmp_path, "cd")


@pytest.mark.parametrize(
    "change",
    [
        {"version": 9},
        {"classes": ["any"]},
        {"groups": [{**GROUP, "calibrator": {**IDENTITY, "method": "magic"}}]},
        {"groups": [{**GROUP, "calibrator": {**IDENTITY, "scale": [1]}}]},
        {"groups": [GROUP, GROUP]},
        {"groups": [{**GROUP, "share": float("nan")}]},
        {"groups": [{**GROUP, "share": 2}, {**GROUP, "share": -1}]},
        {"groups": [{**GROUP, "calibrator": {**IDENTITY, "offset": [10**400] * 6}}]},
        {"groups": [{**GROUP, "calibrator": {**IDENTITY, "knots": [[[1, 0], [0, 1]]] * 6}}]},
        {"smoothing_mm": "4"},
        {"prevalence": 1},
        {"thresholds": {"slice": {"youden": 0.5}}},
        {"unknown": 1},
    ],
)
def test_damaged_it_is_refused(change: dict, tmp_path: Path) -> None:
    path = FITTED.save(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match="not a calibration of this version"):
        load_postprocessing(tmp_path, "ab")
    (tmp_path / CALIBRATION).write_text("{")
    with pytest.raises(InputError, match=r"Run python -m ich_tf\.calibrate"):
        load_postprocessing(tmp_path, "ab")


def test_the_version_before_is_read_for_a_single_model_alone(tmp_path: Path) -> None:
    path = FITTED.save(tmp_path)
    content = json.loads(path.read_text())
    (group,) = content.pop("groups")
    former = {name: group[name] for name in ("calibrator", "series_calibrator")}
    path.write_text(json.dumps({**content, **former, "version": 2}))
    assert load_postprocessing(tmp_path, "ab") == FITTED
    with pytest.raises(InputError, match=r"applied to their mean.*Run python -m ich_tf\.calibrate"):
        load_postprocessing(tmp_path, "ab", 5)


def test_each_fold_s_members_are_calibrated_and_then_averaged() -> None:
    halves = [Calibrator("temperature", scale=(scale,) * 6) for scale in (0.5, 2.0)]
    folds = Postprocessing(
        groups=(Group(halves[0], share=0.25), Group(halves[1], share=0.75)), fitted_on={"a": 1}
    )
    logits = np.stack([LOGITS, LOGITS + 1])
    expected = 0.25 * sigmoid(LOGITS / 2) + 0.75 * sigmoid(2 * (LOGITS + 1))
    found = folds.probabilities(logits, np.arange(8), ["s"] * 8)
    np.testing.assert_allclose(found, expected)
    assert folds.describe() == "calibrated by temperature for each of 2 folds, then averaged"
    groups = (Group(members=("b", "a")), Group(members=("c",)))
    assert group_rows(groups, ["a", "c", "b"]) == [[0, 2], [1]]
    assert group_rows((Group(),), ["a", "c"]) == [[0, 1]]
    for hashes in (["a", "b"], ["a", "b", "c", "d"]):
        with pytest.raises(InputError, match="other members"):
            group_rows(groups, hashes)


@pytest.mark.parametrize("seed", [0, slow(1), slow(2), slow(3), slow(4), slow(5)])
def test_calibrated_folds_are_better_than_a_calibrated_mean(seed: int) -> None:
    """Networks that are overconfident each in its own way, on simulated patients."""
    rng = np.random.default_rng(seed)
    slope, offset = np.exp(rng.normal(0.8, 0.5, 5)), rng.normal(0, 0.5, 5)

    def draw(num_patients: int) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
        patient = np.repeat(np.arange(num_patients), 16)
        shape = (len(patient), 6)
        true = rng.normal(-2.5, 2, (num_patients, 6))[patient] + rng.normal(size=shape)
        labels = (rng.uniform(size=shape) < sigmoid(true)).astype(float)
        errors = [
            rng.normal(size=(num_patients, 6))[patient] + rng.normal(size=shape) for _ in slope
        ]
        logits = [a * (true + error) + b for a, b, error in zip(slope, offset, errors, strict=True)]
        return labels, logits, [str(number) for number in patient]

    folds = []
    for fold in range(5):
        labels, logits, patients = draw(40)
        folds.append(predictions_of(labels, logits[fold], patients))
    names = tuple((str(fold),) for fold in range(5))
    fit = functools.partial(fit_postprocessing, model_sha256="", smoothing_mm=0, method="platt")
    each = fit(folds, members=names, shares=[0.2] * 5)
    together = fit([SlicePredictions.concatenate(folds)])
    labels, logits, patients = draw(400)
    z_mm = np.arange(len(labels))
    mean = mix_logits(logits, np.full(5, 0.2))
    losses = [
        weighted_log_loss(labels, together.probabilities(mean[None], z_mm, patients)),
        weighted_log_loss(labels, each.probabilities(np.stack(logits), z_mm, patients)),
    ]
    assert losses[1] < losses[0] - 0.02


def test_a_class_that_a_fold_lacks_is_fitted_to_all_folds() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 200, 6))
    labels = (rng.uniform(size=logits.shape) < sigmoid(2 * logits)).astype(float)
    labels[0, :, 2] = 0
    folds = [
        predictions_of(labels[i], logits[i], [str(k // 10) for k in range(200)]) for i in range(2)
    ]
    for method in ("platt", "isotonic"):
        fitted = fit_postprocessing(
            folds, members=(("a",), ("b",)), shares=(0.5, 0.5), model_sha256="",
            smoothing_mm=0, method=method,
        )  # fmt: skip
        whole = METHODS[method](labels.reshape(-1, 6), logits.reshape(-1, 6))
        alone = METHODS[method](labels[0], logits[0])
        found = fitted.groups[0].calibrator(LOGITS)
        np.testing.assert_array_equal(found[:, 2], whole(LOGITS)[:, 2])
        np.testing.assert_array_equal(found[:, :2], alone(LOGITS)[:, :2])


def predictions_of(labels: np.ndarray, logits: np.ndarray, patients: list[str]) -> SlicePredictions:
    number = np.arange(len(labels))
    return SlicePredictions(
        patients, patients, patients, patients, number, number * 5.0,
        np.ones((len(labels), 2)), np.zeros(len(labels)), labels,
        *exams_of(labels, patients), logits,
    )  # fmt: skip


def test_a_single_patient_chooses_no_method() -> None:
    """Any curve that was fitted to the patient's labels knows them."""
    labels = np.tile(np.arange(8)[:, None] % 2, (5, 6)).astype(float)
    logits = np.random.default_rng(0).normal(size=labels.shape) + labels
    part = predictions_of(labels, logits, ["p"] * len(labels))
    for parts in ([part], [part, part]):
        share = 1 / len(parts)
        fitted = fit_postprocessing(
            parts,
            model_sha256="",
            members=[(str(i),) for i in range(len(parts))],
            shares=[share] * len(parts),
            smoothing_mm=0,
        )
        assert fitted.method == "none"


def test_the_hash_is_that_of_steps_and_thresholds() -> None:
    fitted = Postprocessing(fitted_on={"num": 1}, thresholds={"slice": {"youden": {"any": 0.5}}})
    other = replace(fitted, thresholds={"slice": {"youden": {"any": 0.4}}})
    assert len(fitted.sha256) == 64 and fitted.sha256 == replace(fitted).sha256 != other.sha256
    assert Postprocessing().sha256 == "", "none was fitted"
