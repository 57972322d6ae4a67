"""Decision curves, groups and uncertainty of an evaluation, against counting by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ich_tf.conversion.pseudonyms import key_fingerprint, pseudonym
from ich_tf.errors import InputError
from ich_tf.evaluation.agreement import (
    BY_MEMBERS,
    BY_THRESHOLD,
    member_exams,
    score_agreement,
)
from ich_tf.evaluation.decision_curves import decision_curves
from ich_tf.evaluation.group_scores import score_groups
from ich_tf.evaluation.group_table import groups_of_slices, read_groups
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.aggregation import Scored, at_levels
from ich_tf.inference.postprocessing.fitting import fit_postprocessing
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.labels import ANY
from ich_tf.metrics import logit, net_benefit, roc_auc, sigmoid
from tests.support.made_up import made_up

PUBLIC: Any = SimpleNamespace(patient_keys="")


@pytest.fixture(scope="module")
def predictions() -> SlicePredictions:
    return made_up()


def levels_of(predictions: SlicePredictions) -> dict[str, Scored]:
    return at_levels(
        predictions.labels,
        predictions.probabilities,
        predictions.series_key,
        predictions.patient_key,
        exam_labels=predictions.exam_labels,
    )


def test_the_curve_is_that_of_exams_with_intervals(predictions: SlicePredictions) -> None:
    levels = levels_of(predictions)
    exams = levels["series_max"]
    curve = next(c for c in decision_curves(levels, num_resamples=100) if c.name == "any")
    assert (curve.level, curve.number, curve.num_patients) == ("series_max", 60, 30)
    expected = net_benefit(exams.labels[:, ANY], exams.probabilities[:, ANY], curve.thresholds)
    assert curve.net_benefit == pytest.approx(expected, abs=1e-12)
    ends = zip(curve.low, curve.net_benefit, curve.high, strict=True)
    assert all(low <= value <= high for low, value, high in ends if None not in (low, value, high))
    gain = curve.gains[2]
    best = max(gain.of_all, 0)
    assert gain.threshold == 0.1 and gain.net_benefit.value is not None
    assert gain.gain.value == pytest.approx(gain.net_benefit.value - best)


def test_unknown_labels_and_absent_classes_have_no_part_in_curves() -> None:
    labels = np.array([[0, 1, np.nan, 0, 0, 1], [0, np.nan, np.nan, 0, 0, 0], [0, 0.4, 1, 0, 0, 1]])
    scored = Scored(labels, np.full((3, 6), 0.5), np.array(["a", "b", "c"]))
    curves = {curve.name: curve for curve in decision_curves({"series_max": scored}, 0)}
    assert {name: (c.number, c.positives) for name, c in curves.items()} == {
        "intraparenchymal": (2, 1),  # 0.4 of the readers are no majority
        "intraventricular": (1, 1),
        "any": (3, 2),
    }


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_groups_are_scored_as_if_they_were_alone(
    predictions: SlicePredictions, tmp_path: Path
) -> None:
    rows = [f"P{i},{'F' if i % 3 else 'M'},{'' if i == 4 else 'old'}" for i in range(29)]
    path = write(tmp_path / "groups.csv", "\n".join(["PatientID,Sex,Age", *rows]))
    groups = groups_of_slices(read_groups(path), predictions, PUBLIC)
    threshold = 0.4
    points = {level: {"youden": {"any": threshold}} for level in ("slice", "series_max")}
    scores = score_groups(
        groups, predictions, levels_of(predictions), Postprocessing(thresholds=points), 50
    )
    numbers = {(s.level, s.column, s.group): s for s in scores}
    assert {(c, g) for level, c, g in numbers if level == "slice"} == {
        ("all", "all"),
        ("Sex", "F"),
        ("Sex", "M"),
        ("Sex", "not in the file"),
        ("Age", "old"),
        ("Age", "unknown"),
        ("Age", "not in the file"),
    }
    rows_m = np.array([int(key[1:]) % 3 == 0 for key in predictions.patient_key])
    truth, prob = predictions.labels[rows_m, ANY], predictions.probabilities[rows_m, ANY]
    men = numbers["slice", "Sex", "M"]
    assert men.number == rows_m.sum() and men.num_patients == 10 and men.is_small
    assert men.roc_auc.value == pytest.approx(roc_auc(truth, prob))
    assert men.sensitivity.value == pytest.approx((prob[truth == 1] >= threshold).mean())
    assert numbers["series_max", "Sex", "M"].number == 20
    assert numbers["series_max", "all", "all"].number == 60


def test_exams_of_several_groups_and_unknown_labels(
    predictions: SlicePredictions, tmp_path: Path
) -> None:
    some = made_up(patients=2)
    some.labels[:6] = np.nan
    some.exam_labels[:6] = np.nan
    rows = [f"{key},{'first' if i == 6 else 'others'}" for i, key in enumerate(some.source_id)]
    path = write(tmp_path / "groups.csv", "\n".join(["image id;part", *rows]).replace(",", ";"))
    groups = groups_of_slices(read_groups(path), some, PUBLIC)
    scores = score_groups(groups, some, levels_of(some), Postprocessing(), 0)
    numbers = {(s.level, s.group): s.number for s in scores if s.column == "part"}
    assert numbers == {
        ("series_max", "several"): 1,
        ("series_max", "others"): 2,
        ("slice", "first"): 1,
        ("slice", "others"): 17,
    }


def test_ids_are_hashed_as_the_conversion_hashed_them(tmp_path: Path) -> None:
    key = b"0123456789abcdef"
    secret = tmp_path / "key"
    secret.write_bytes(key)
    secret.chmod(0o600)
    some = made_up(patients=1)
    some.patient_key[:] = [pseudonym("123", key)] * len(some)
    manifest: Any = SimpleNamespace(patient_keys=f"folder {key_fingerprint(key)}")
    table = read_groups(write(tmp_path / "groups.csv", "patient,site\n123,A\n"))
    assert set(groups_of_slices(table, some, manifest, str(secret))["site"]) == {"A"}
    with pytest.raises(InputError, match="give --hash_key_file"):
        groups_of_slices(table, some, manifest)
    with pytest.raises(InputError, match="another secret"):
        groups_of_slices(table, some, PUBLIC, str(secret))
    some.patient_key[:] = [pseudonym("123")] * len(some)
    assert set(groups_of_slices(table, some, PUBLIC)["site"]) == {"A"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sex,age\nF,1\n", "none of them say whose"),
        ("patient,series,sex\n1,2,F\n", "patient and series say whose"),
        ("patient\n1\n", "one or more with groups"),
        ("patient,sex\n1,F\n1,M\n", "line 3 gives '1' other groups"),
        ("patient,age\n" + "".join(f"{i},{i}\n" for i in range(21)), "age has 21 different values"),
        ("patient,sex\n1\n", "line 2 has 1 values"),
        ("", "is empty"),
    ],
)
def test_what_is_no_table_of_groups_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_groups(write(tmp_path / "groups.csv", text))


def test_keys_of_other_patients_are_refused(predictions: SlicePredictions, tmp_path: Path) -> None:
    table = read_groups(write(tmp_path / "groups.csv", "patient,sex\nX,F\n"))
    with pytest.raises(InputError, match=r"none of its 1 keys, such as 'X'.* 30 patients"):
        groups_of_slices(table, predictions, PUBLIC)


def with_members(predictions: SlicePredictions, number: int = 4) -> SlicePredictions:
    """Members that see the same with noise of their own, and more of it in every other patient."""
    rng = np.random.default_rng(3)
    noisy = np.array([int(key[1:]) % 2 for key in predictions.patient_key])
    noise = rng.normal(0, 1, (number, *predictions.logits.shape)) * (0.2 + 2 * noisy)[:, None]
    members = predictions.logits + noise
    mean = logit(sigmoid(members).mean(axis=0))
    return dataclasses.replace(predictions, members=members, logits=mean)


def test_members_are_told_apart_by_their_own_probabilities(predictions: SlicePredictions) -> None:
    some = with_members(predictions)
    after = fit_postprocessing([some], model_sha256="x", method="platt", smoothing_mm=2.0)
    exams = member_exams(some, after, [0] * 4)
    assert exams is not None and exams.shape == (4, 60, 6)
    assert some.members is not None
    alone = after.probabilities(some.members[2][None], some.z_mm, some.series_key)
    np.testing.assert_allclose(exams[2, 7], alone[42:48].max(axis=0))
    assert member_exams(predictions, after, [0]) is None


def test_disagreement_tells_errors_from_right_decisions() -> None:
    some = made_up(patients=200)
    healthy = np.array([int(key[1:]) % 4 < 2 for key in some.patient_key])
    some.labels[healthy], some.exam_labels[healthy] = 0, 0
    some.logits[healthy] -= 2
    some = with_members(some)
    after = fit_postprocessing([some], model_sha256="x", method="platt", smoothing_mm=0)
    prob = after.probabilities(some.by_group, some.z_mm, some.series_key)
    levels = at_levels(
        some.labels, prob, some.series_key, some.patient_key, exam_labels=some.exam_labels
    )
    members = member_exams(some, after, [0] * 4)
    agreement = score_agreement(levels, members, after, 50)
    assert agreement is not None and agreement.num_members == 4
    threshold = after.threshold("series_max", "any")
    exams = levels["series_max"]
    wrong = (exams.probabilities[:, ANY] >= threshold) != (exams.labels[:, ANY] == 1)
    assert agreement.errors == wrong.sum()
    assert agreement.agreed is not None and agreement.divided is not None
    assert agreement.agreed.number + agreement.divided.number == agreement.number == 400
    assert agreement.agreed.errors + agreement.divided.errors == agreement.errors
    for curve in agreement.curves:
        assert curve.coverage[-1] == 1 and curve.risk[-1] == pytest.approx(wrong.mean())
        assert curve.area.value is not None
        assert agreement.least_area < curve.area.value < wrong.mean()
    assert [curve.uncertainty for curve in agreement.curves] == [BY_THRESHOLD, BY_MEMBERS]
    alone = score_agreement(levels, None, after, 0)
    assert alone is not None and len(alone.curves) == 1 and alone.agreed is None


def test_exams_without_a_label_are_left_out_of_members_too() -> None:
    some = with_members(made_up(patients=3))
    some.labels[:], some.exam_labels[:6] = np.nan, np.nan
    exams = member_exams(some, Postprocessing(), [0] * 4)
    levels = levels_of(some)
    assert exams is not None and "slice" not in levels
    assert exams.shape[1] == len(levels["series_max"]) == 5
    assert some.members is not None
    np.testing.assert_allclose(exams[1, 0], sigmoid(some.members[1][6:12]).max(axis=0))


def test_without_an_operating_point_nothing_is_decided(predictions: SlicePredictions) -> None:
    assert score_agreement(levels_of(predictions), None, Postprocessing(), 0) is None
