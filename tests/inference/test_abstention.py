"""Abstention: thresholds, files, decisions of series, and what is counted of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import ConfigError, InputError
from ich_tf.evaluation.abstention_scores import score_abstention
from ich_tf.inference.config import CalibrateConfig
from ich_tf.inference.few_labels import fit_at_site, without_site
from ich_tf.inference.postprocessing.abstention import (
    Abstention,
    AbstentionTarget,
    ClassAbstention,
    fit_abstention,
)
from ich_tf.inference.postprocessing.aggregation import Scored, at_levels
from ich_tf.inference.postprocessing.calibration_file import load_postprocessing
from ich_tf.inference.postprocessing.fitting import choose_thresholds, fit_postprocessing
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.labels import ANY, CLASSES
from tests.support.made_up import made_up

TARGET = AbstentionTarget(miss_rate=0.1)


def exams(number: int = 300, seed: int = 0, ability: float = 2.0) -> Scored:
    """Exams of as many patients, half of them with every class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (number, 1))
    logits = ability * (2 * truth - 1) / 2 + rng.normal(0, 1, (number, 6))
    patients = np.array([f"p{i}" for i in range(number)])
    return Scored(np.tile(truth, 6), 1 / (1 + np.exp(-logits)), patients)


def fitted(scored: Scored, target: AbstentionTarget) -> ClassAbstention:
    levels = {"series_max": scored}
    abstention = fit_abstention(levels, choose_thresholds(levels), target)
    assert abstention is not None
    return abstention.levels["series_max"]["any"]


def test_a_no_is_limited_by_the_misses_and_a_yes_is_the_operating_points() -> None:
    scored = exams()
    thresholds = fitted(scored, TARGET)
    point = choose_thresholds({"series_max": scored})["series_max"]["youden"]["any"]
    truth, prob = scored.labels[:, ANY], scored.probabilities[:, ANY]
    assert thresholds.yes_from == point and thresholds.no_below is not None
    missed = (prob[truth == 1] < thresholds.no_below).mean()
    assert 0 < missed < 0.1
    assert thresholds.no_below < point
    assert thresholds.num_positive_patients == int(truth.sum())


def test_both_rates_hold_where_both_are_promised() -> None:
    scored = exams()
    thresholds = fitted(scored, dataclasses.replace(TARGET, false_alarm_rate=0.1))
    truth, prob = scored.labels[:, ANY], scored.probabilities[:, ANY]
    assert thresholds.no_below is not None and thresholds.yes_from is not None
    assert (prob[truth == 1] < thresholds.no_below).mean() <= 0.1
    assert (prob[truth == 0] >= thresholds.yes_from).mean() <= 0.1
    assert thresholds.no_below < thresholds.yes_from


def test_a_good_model_decides_all_and_keeps_both_promises() -> None:
    scored = exams(ability=8.0)
    thresholds = fitted(scored, dataclasses.replace(TARGET, false_alarm_rate=0.1))
    assert thresholds.no_below == thresholds.yes_from
    truth, prob = scored.labels[:, ANY], scored.probabilities[:, ANY]
    decisions = [thresholds.decide(value) for value in prob]
    assert set(decisions) == {"yes", "no"}
    assert (prob[truth == 1] < thresholds.no_below).mean() <= 0.1
    assert (prob[truth == 0] >= thresholds.yes_from).mean() <= 0.1


def test_too_few_patients_never_give_a_no() -> None:
    thresholds = fitted(exams(30), TARGET)
    assert thresholds.no_below is None
    assert thresholds.decide(0.0) == "abstain"
    abstention = Abstention(TARGET, {"series_max": dict.fromkeys(CLASSES, thresholds)})
    assert "a no takes 29 patients with it" in abstention.report()[1]


def test_unknown_labels_are_no_negatives() -> None:
    scored = exams()
    labels = scored.labels.astype(float)
    labels[scored.labels[:, ANY] == 0] = np.nan
    levels = {"series_max": dataclasses.replace(scored, labels=labels)}
    abstention = fit_abstention(levels, {}, TARGET)
    assert abstention is not None
    known = abstention.levels["series_max"]["any"]
    assert known.num_negative_patients == 0
    assert known.no_below == fitted(scored, TARGET).no_below


def test_the_file_keeps_it_and_older_files_lack_it(tmp_path: Path) -> None:
    parts = [made_up(patients=20)]
    plain = fit_postprocessing(parts, model_sha256="x", method="platt", smoothing_mm=0)
    assert "abstention" not in json.loads(plain.save(tmp_path).read_text())
    target = AbstentionTarget(0.1, 0.2, 0.0)
    after = fit_postprocessing(
        parts, model_sha256="x", method="platt", smoothing_mm=0, abstain=target
    )
    path = after.save(tmp_path)
    read = load_postprocessing(tmp_path, "x")
    assert read is not None and read.abstention == after.abstention is not None
    assert read.sha256 == after.sha256 != plain.sha256
    content = json.loads(path.read_text())
    content["abstention"]["levels"]["series_max"]["any"]["no_below"] = "low"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="not a calibration"):
        load_postprocessing(tmp_path, "x")


def test_a_series_is_decided_by_its_greatest_slice_or_by_its_model() -> None:
    thresholds = ClassAbstention(0.2, 0.6, 100, 100)
    by_class = dict.fromkeys(CLASSES, thresholds)
    abstention = Abstention(TARGET, {"series_max": by_class, "series_model": by_class})
    slices = np.full((3, 6), 0.1)
    slices[1, ANY] = 0.7
    answers = abstention.decide(slices, None)
    assert answers["any"] == "yes" and answers["epidural"] == "no"
    assert set(abstention.decide(slices, np.full(6, 0.4)).values()) == {"abstain"}


def test_a_split_is_counted_by_patients() -> None:
    labels = np.repeat([[1], [1], [1], [0], [0]], 6, axis=1)
    prob = np.repeat([[0.1], [0.9], [0.1], [0.7], [0.3]], 6, axis=1)
    scored = Scored(labels, prob, np.array(["a", "a", "b", "c", "d"]))
    by_class = dict.fromkeys(CLASSES, ClassAbstention(0.2, 0.6, 100, 100))
    scores = score_abstention(Abstention(TARGET, {"series_max": by_class}), {"series_max": scored})
    of_any = next(score for score in scores if score.name == "any")
    assert (of_any.num_yes, of_any.num_no, of_any.num_abstain) == (2, 2, 1)
    assert (of_any.num_positive_patients, of_any.num_missed, of_any.miss_rate) == (2, 2, 1.0)
    assert (of_any.num_negative_patients, of_any.num_alarmed) == (2, 1)
    assert of_any.coverage == pytest.approx(0.8)
    assert score_abstention(None, {"series_max": scored}) == []


def test_a_site_has_its_own_or_none() -> None:
    slices = made_up(patients=40)
    before = fit_postprocessing(
        [made_up(1)], model_sha256="x", method="platt", smoothing_mm=0, abstain=TARGET
    )
    assert fit_at_site(before, slices, "x", []).abstention is None
    at_site = fit_at_site(before, slices, "x", [], TARGET)
    calibrated = at_site.probabilities(slices.by_group, slices.z_mm, slices.series_key)
    levels = at_levels(slices.labels, calibrated, slices.series_key, slices.patient_key)
    assert at_site.abstention == fit_abstention(levels, at_site.thresholds, TARGET)
    assert without_site(at_site).abstention is None
    assert Postprocessing().abstention is None


def test_a_false_alarm_rate_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 without --abstain_miss_rate"):
        CalibrateConfig(abstain_false_alarm_rate=0.1)
    assert CalibrateConfig().abstention_target is None
