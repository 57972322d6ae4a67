"""Scores of exams whose slices are labelled in part, or not at all."""

import dataclasses
import io
import json

import numpy as np
import pandas as pd
import pytest

from ich_tf import metrics
from ich_tf.evaluation.exams import describe_exams, exams_table
from ich_tf.evaluation.heat_map_scores import _truth
from ich_tf.evaluation.main_level import before_postprocessing
from ich_tf.evaluation.report import _content
from ich_tf.evaluation.result import Evaluation, predictions_table, score
from ich_tf.inference.postprocessing.aggregation import at_levels
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.labels import ANY, CLASSES
from ich_tf.runtime.files import json_text
from tests.support.made_up import made_up, of_exams


def evaluated(predictions, num_resamples=0) -> tuple[Evaluation, dict]:
    levels = at_levels(
        predictions.labels, predictions.probabilities, predictions.series_key,
        predictions.patient_key, None, predictions.exam_labels,
    )  # fmt: skip
    points = {"youden": dict.fromkeys(CLASSES, 0.5)}
    evaluation = score(
        "test", predictions, levels,
        Postprocessing(thresholds={"series_max": points}, fitted_on={"num": 1}),
        prior=np.full(6, 0.2), model={"seen": "held out", "postprocessing": "none"},
        num_resamples=num_resamples,
    )  # fmt: skip
    return evaluation, levels


def test_exams_alone_are_scored_as_exams() -> None:
    predictions = of_exams(made_up())
    evaluation, levels = evaluated(predictions, num_resamples=50)
    assert "slice" not in evaluation.levels and evaluation.level == "series_max"
    first = slice(None, None, 6)
    exams, prob = predictions.exam_labels[first], levels["series_max"].probabilities
    assert evaluation.loss == metrics.known_log_loss(exams, prob)
    scores = evaluation.levels["series_max"].classes
    assert scores["epidural"].number == 0 and scores["epidural"].roc_auc.value is None
    truth = exams[:, ANY] >= 0.5
    assert scores["any"].positives == truth.sum() == evaluation.positives["any"]
    assert scores["any"].roc_auc.value == metrics.roc_auc(truth, prob[:, ANY])
    point = scores["any"].points["youden"]
    assert point.true_positives == (truth & (prob[:, ANY] >= 0.5)).sum()
    assert point.sensitivity.low is not None
    assert json.loads(json_text(evaluation.content()))["exams"]["levels"] == {"study": 60}
    assert "no slice is labelled" in evaluation.report() and "undefined" in evaluation.report()
    groups = {group.name: group for group in evaluation.subgroups if group.family == "scanner"}
    assert sum(group.num_slices for group in groups.values()) == 60


def test_slices_are_scored_where_they_are_labelled_and_exams_everywhere() -> None:
    whole, predictions = of_exams(made_up(), 1.0), of_exams(made_up(), 0.5)
    kept = ~np.isnan(predictions.labels[:, 0])
    evaluation, levels = evaluated(predictions)
    assert evaluation.level == "slice" and len(levels["slice"]) == kept.sum() == 180
    expected = metrics.weighted_log_loss(whole.labels[kept], whole.probabilities[kept])
    assert evaluation.loss == expected
    assert len(levels["series_max"]) == 60
    assert evaluation.levels["series_max"].classes["epidural"].number == 30
    assert evaluation.exams["labelled_slices"] == 180
    assert sum(g.num_slices for g in evaluation.subgroups if g.family == "scanner") == 180


def test_without_exams_metrics_say_nothing_of_them() -> None:
    evaluation, _ = evaluated(made_up())
    assert "exams" not in evaluation.content() and not describe_exams(made_up())


@pytest.mark.parametrize("labelled", [0.0, 0.5])
def test_tables_are_empty_where_labels_are_unknown(labelled: float) -> None:
    predictions = of_exams(made_up(), labelled)
    whole = np.repeat(np.random.default_rng(0).uniform(size=(60, 6)), 6, axis=0)
    for given, expected in ((None, None), (whole, whole[::6])):
        table = exams_table(predictions, predictions.probabilities, given)
        read = pd.read_csv(io.StringIO(table.to_csv(index=False)))
        assert list(read)[:3] == ["series_key", "patient_key", "label_level"]
        names = [f"label_{name}" for name in CLASSES]
        np.testing.assert_allclose(read[names], predictions.exam_labels[::6], equal_nan=True)
        if expected is None:
            expected = predictions.probabilities.reshape(60, 6, 6).max(axis=1)
        np.testing.assert_allclose(read[list(CLASSES)], expected)
    text = predictions_table(predictions, predictions.probabilities).to_csv(index=False)
    np.testing.assert_array_equal(pd.read_csv(io.StringIO(text))[names], predictions.labels)
    if labelled:
        assert set(text.splitlines()[1].split(",")[5:11]) <= {"0", "1"}, "whole numbers"


def test_pictures_of_exams_are_of_errors_that_follow_from_their_labels() -> None:
    predictions = of_exams(made_up(), labelled=0.5)
    prob = predictions.probabilities
    assert np.array_equal(_truth(made_up(), prob, ANY), made_up().labels[:, ANY])
    truth = _truth(predictions, prob, ANY).reshape(60, 6)
    exams = predictions.exam_labels[::6, ANY]
    np.testing.assert_array_equal(truth[:30].ravel(), predictions.labels[:180, ANY])
    assert (truth[30:][exams[30:] < 0.5] == 0).all()
    ill = truth[30:][exams[30:] >= 0.5]
    assert (np.nansum(ill, axis=1) == 1).all() and (np.isnan(ill).sum(axis=1) == 5).all()
    assert np.isnan(_truth(predictions, prob, 0)[180:]).all()


def test_the_report_speaks_of_exams() -> None:
    predictions = of_exams(made_up())
    evaluation, levels = evaluated(predictions)
    evaluation = dataclasses.replace(evaluation, model={**evaluation.model})
    before = before_postprocessing(predictions, evaluation.level)
    content = _content(evaluation, levels, before, [])
    assert content["noun"] == "exams" and "60 of study" in content["exams"][0]
    assert {line["name"]: line["end"] for line in content["losses"]["rows"]}["epidural"] is None
    np.testing.assert_array_equal(before.labels, levels["series_max"].labels)
