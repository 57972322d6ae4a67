"""A comparison from files to results."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics

from ich_tf import metrics
from ich_tf.comparison.comparison import compare
from ich_tf.comparison.config import CompareConfig
from ich_tf.comparison.score_table import read_patients, read_scores
from ich_tf.errors import ConfigError, InputError
from ich_tf.labels import ANY, CLASSES, write_long_csv
from tests.comparison.conftest import make_rows, write_evaluation, write_rows


def config(tmp_path: Path, *models: str, **changes) -> CompareConfig:
    changes = {"num_resamples": 200, "out_dir": str(tmp_path / "out"), **changes}
    return CompareConfig(models=models, **changes)


def arrays(rows: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    labels = np.array([[row[f"label_{name}"] for name in CLASSES] for row in rows])
    return labels, np.array([[row[name] for name in CLASSES] for row in rows])


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, str]:
    """Two work dirs that were evaluated."""
    return (
        f"old={write_evaluation(tmp_path / 'old', make_rows(0))}",
        f"new={write_evaluation(tmp_path / 'new', make_rows(1)[::-1], 0.6)}",
    )


def test_work_dirs_are_compared_by_every_metric(models, tmp_path: Path) -> None:
    result = compare(config(tmp_path, *models))
    labels, old = arrays(make_rows(0))
    _, new = arrays(make_rows(1))
    expected = {
        "weighted_log_loss": lambda p: metrics.weighted_log_loss(labels, p),
        "roc_auc": lambda p: sklearn.metrics.roc_auc_score(labels[:, ANY], p[:, ANY]),
        "average_precision": lambda p: sklearn.metrics.average_precision_score(
            labels[:, ANY], p[:, ANY]
        ),
        "brier_score": lambda p: sklearn.metrics.brier_score_loss(labels[:, ANY], p[:, ANY]),
    }
    by_metric = {each.metric: each for each in result.differences}
    assert set(by_metric) == {*expected, "sensitivity", "specificity"}
    for name, metric in expected.items():
        each = by_metric[name]
        assert each.reference_value == pytest.approx(metric(old), abs=1e-12)
        assert each.model_value == pytest.approx(metric(new), abs=1e-12)
        assert each.difference == pytest.approx(metric(new) - metric(old), abs=1e-12)
        assert each.low < each.difference < each.high


def test_decisions_are_counted_case_by_case(models, tmp_path: Path) -> None:
    (decisions,) = compare(config(tmp_path, *models)).decisions
    labels, old = arrays(make_rows(0))
    _, new = arrays(make_rows(1))
    truth = labels[:, ANY] == 1
    found, found_by_old = new[:, ANY] >= 0.6, old[:, ANY] >= 0.5
    assert decisions.positives.only_model == (truth & found & ~found_by_old).sum()
    assert decisions.positives.only_reference == (truth & ~found & found_by_old).sum()
    assert decisions.negatives.both == (~truth & ~found & ~found_by_old).sum()
    assert decisions.negatives.neither == (~truth & found & found_by_old).sum()
    positives = decisions.positives
    gained = positives.only_model - positives.only_reference
    assert decisions.sensitivity.difference == pytest.approx(gained / truth.sum())


def test_the_results_are_written(models, tmp_path: Path) -> None:
    result = compare(config(tmp_path, *models, margin=("roc_auc=0.1",)))
    written = json.loads((tmp_path / "out/comparison.json").read_text())
    assert written["num_patients"] == 40 and written["reference"] == "old"
    assert written["differences"][1]["margin"] == 0.1
    table = list(csv.DictReader((tmp_path / "out/comparison.csv").open()))
    assert [row["metric"] for row in table] == [each.metric for each in result.differences]
    page = (tmp_path / "out/report.html").read_text()
    assert "new beside old" in page and "margin 0.1" in page and "<script" not in page
    assert result.report().count("\n") == len(result.differences)


def test_exams_are_series_of_evaluations_without_a_table_of_exams(models, tmp_path: Path) -> None:
    result = compare(config(tmp_path, *models, level="exam"))
    labels, old = arrays(make_rows(0))
    truth = labels[:, ANY].reshape(-1, 3).max(axis=1)
    auc = next(each for each in result.differences if each.metric == "roc_auc")
    assert result.num_examples == 80 and result.models[0].is_pooled
    assert auc.reference_value == pytest.approx(
        sklearn.metrics.roc_auc_score(truth, old[:, ANY].reshape(-1, 3).max(axis=1))
    )


def test_exams_csv_is_read_where_there_is_one(tmp_path: Path) -> None:
    given = []
    for number, name in enumerate(("old", "new")):
        folder = Path(write_evaluation(tmp_path / name, make_rows(number)))
        exams = [
            {
                "series_key": f"S{i}",
                "patient_key": f"P{i}",
                "label_level": "study",
                **{f"label_{each}": "" for each in CLASSES},
                "label_any": [0, 1, 2 / 3, ""][i % 4],
                **dict.fromkeys(CLASSES, 0.1 + 0.01 * i + 0.1 * number),
            }
            for i in range(48)
        ]
        write_rows(folder / "evaluation/test/exams.csv", exams)
        given.append(f"{name}={folder}")
    result = compare(config(tmp_path, *given, level="exam"))
    assert result.num_examples == 48 and result.known == {"any": 36}
    assert result.positives == {"any": 24} and not result.models[0].is_pooled
    assert {each.metric for each in result.differences} >= {"weighted_log_loss", "roc_auc"}


def test_anybodys_csv_takes_labels_and_patients_of_the_others(tmp_path: Path, rows) -> None:
    theirs = [{"ID": row["source_id"], "Any": row["any"] ** 2} for row in rows]
    result = compare(
        config(
            tmp_path,
            f"ours={write_evaluation(tmp_path / 'ours', rows)}",
            f"theirs={write_rows(tmp_path / 'theirs.csv', theirs)}",
            margin=("roc_auc=0.05",),
        )
    )
    by_metric = {each.metric: each for each in result.differences}
    assert set(by_metric) == {"log_loss", "roc_auc", "average_precision", "brier_score"}
    assert by_metric["roc_auc"].difference == pytest.approx(0, abs=1e-12)
    assert result.decisions == []


def test_submissions_take_labels_and_patients_of_files(tmp_path: Path, rows) -> None:
    labels, prob = arrays(rows)
    ids = [row["source_id"] for row in rows]
    write_long_csv(tmp_path / "labels.csv", ids, labels)
    for name, values in (("a", prob), ("b", prob[:, ::-1])):
        write_long_csv(tmp_path / f"{name}.csv", ids, values)
    write_rows(
        tmp_path / "patients.csv",
        [{"id": row["source_id"], "patient": row["patient_key"]} for row in rows],
    )
    result = compare(
        config(
            tmp_path,
            f"a={tmp_path}/a.csv",
            f"b={tmp_path}/b.csv",
            labels_csv=f"{tmp_path}/labels.csv",
            patients_csv=f"{tmp_path}/patients.csv",
            thresholds=("a=0.5", "b=0.4"),
        )
    )
    assert result.num_patients == 40
    loss = metrics.weighted_log_loss(labels, prob)
    assert result.differences[0].reference_value == pytest.approx(loss, abs=1e-12)
    assert result.decisions[0].model_threshold == 0.4


def test_models_that_decide_alike_are_not_told_apart_without_doubt(tmp_path: Path, rows) -> None:
    """No resample differs, and still some patient may."""
    work_dir = write_evaluation(tmp_path / "old", rows)
    result = compare(
        config(tmp_path, f"a={work_dir}", f"b={work_dir}", margin=("sensitivity=0.2",))
    )
    rate = result.decisions[0].sensitivity
    number = len({row["patient_key"] for row in rows if row["label_any"]})
    assert rate.num_patients == number
    assert rate.high == -rate.low == pytest.approx(1 - 0.025 ** (1 / number))
    assert rate.verdict == "non-inferior"


def test_the_reference_may_be_any_of_the_models(models, tmp_path: Path) -> None:
    there = compare(config(tmp_path, *models))
    back = compare(config(tmp_path, *models, reference="new"))
    for one, other in zip(there.differences, back.differences, strict=True):
        assert other.model == "old"
        assert other.difference == pytest.approx(-one.difference, abs=1e-12)
        assert other.low == pytest.approx(-one.high, abs=1e-12)


def without_patient(rows):
    return [row for row in rows if row["patient_key"] != "P03"]


def other_label(rows):
    return [{**rows[0], "label_any": 1 - rows[0]["label_any"]}, *rows[1:]]


def other_patient(rows):
    return [{**rows[0], "patient_key": "P01"}, *rows[1:]]


def unlabelled(rows):
    return [
        {key: value for key, value in row.items() if not key.startswith("label_")} for row in rows
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_patient, r"other patients: 1 only old has \(P03\)"),
        (lambda rows: rows[2:], r"other slices: 2 only old has \(ID_0, ID_1\)"),
        (other_label, "other labels of 1 slices, ID_0: any of ID_0 is"),
        (other_patient, "other patients of 1 slices, ID_0: P00 and P01"),
        (lambda rows: [*rows, rows[0]], "ID_0 is in line 2 and again in line 242"),
        (lambda rows: [{**rows[0], "any": 1.2}, *rows[1:]], "line 2 has any = '1.2'"),
        (lambda rows: [{"slice": 1, "any": 0.2}], "no column names the slice"),
        (lambda rows: [{"source_id": "ID_0"}], "a column for each class"),
    ],
)
def test_what_is_not_the_same_is_refused_by_name(tmp_path: Path, rows, change, message) -> None:
    given = (
        f"old={write_evaluation(tmp_path / 'old', rows)}",
        f"new={write_rows(tmp_path / 'new.csv', change(rows))}",
    )
    with pytest.raises(InputError, match=message):
        compare(config(tmp_path, *given))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (unlabelled, {}, "has labels.*Give --labels_csv"),
        (lambda rows: [{**row, "patient_key": ""} for row in rows], {}, "Give --patients_csv"),
        (lambda rows: rows, {"metrics": ("sensitivity",)}, "no threshold for any"),
        (lambda rows: [{**row, "label_any": ""} for row in rows], {}, "none of the 240 slices"),
    ],
)
def test_what_no_file_tells_is_asked_for(tmp_path: Path, rows, change, options, message) -> None:
    path = write_rows(tmp_path / "a.csv", change(rows))
    with pytest.raises(InputError, match=message):
        compare(config(tmp_path, f"a={path}", f"b={path}", **options))


def test_a_work_dir_that_was_not_evaluated_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="model a has no predictions.*ich_tf.evaluate"):
        compare(config(tmp_path, f"a={tmp_path}/run", f"b={tmp_path}/run"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ("a=x",)}, "two models or more"),
        ({"models": ("a=x", "y")}, "must be name=path"),
        ({"models": ("a=x", "a=y")}, "its name is another model's"),
        ({"reference": "c"}, "reference is 'c'; it must be one of the models, a, b"),
        ({"metrics": ("auc",)}, "metrics is 'auc'"),
        ({"classes": ("stroke",)}, "classes is 'stroke'"),
        ({"margin": ("auc=0.02",)}, "margin is 'auc'"),
        ({"margin": ("roc_auc",)}, "must be name=number"),
        ({"margin": ("roc_auc=-1",)}, "margin is -1.0; it must be 0 or more"),
        ({"margin": ("roc_auc=1",), "metrics": ("log_loss",)}, "of one of --metrics, log_loss"),
        ({"thresholds": ("c=0.5",)}, "thresholds is 'c'"),
        ({"thresholds": ("a=2",)}, "thresholds is 'a=2'"),
    ],
)
def test_options_are_checked(changes, message) -> None:
    with pytest.raises(ConfigError, match=message):
        CompareConfig(**{"models": ("a=x", "b=y"), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "source_id,series_key,patient_key,any\na,s,p,0.1\nb,s,q,0.9\n",
            "several patients, p and q",
        ),
        ('image_id,label_any,"label_ any",any\na,0,1,0.5\n', "two columns are called label_any"),
        ("image id,image_id,any\na,b,0.5\n", "two columns are called image id"),
    ],
)
def test_what_could_mean_two_things_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_scores(tmp_path / "a.csv", "exam" if "series" in text else "slice")


def test_numbers_and_truth_are_written_as_in_label_csvs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id;label_any;any\na;TRUE;0,25\nb;n/a;1\nc;0,5;0\n")
    table = read_scores(tmp_path / "a.csv", "slice")
    assert table.probabilities[:, ANY].tolist() == [0.25, 1, 0]
    assert table.labels is not None
    np.testing.assert_array_equal(table.labels[:, ANY], [1, np.nan, 0.5])


def test_ids_are_those_that_were_written_whoever_reads_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ID,any\n'-i0,0.8\n'=i1,0.2\n''+x,1\n")
    (tmp_path / "p.csv").write_text("ID,patient\n'-i0,'@p\n'=i1,q\n''+x,r\n")
    ids = ("-i0", "=i1", "'+x")
    assert read_scores(tmp_path / "a.csv", "slice").ids == ids
    assert read_patients(tmp_path / "p.csv", "slice") == dict(
        zip(ids, ["@p", "q", "r"], strict=True)
    )


@pytest.mark.parametrize("unknown", ["", "nan", "unknown", "-1", "NA", "?"])
def test_unknown_labels_are_written_as_in_label_csvs(tmp_path: Path, unknown: str) -> None:
    tables = []
    for number in (0, 1):
        first, *others = make_rows(number)
        rows = [{**first, "label_any": unknown}, *others]
        path = write_rows(tmp_path / f"{number}.csv", rows)
        tables.append(read_scores(Path(path), "slice"))
    assert all(np.isnan(table.labels[0, ANY]) for table in tables)
    assert not any(np.isnan(table.labels[1:]).any() for table in tables)
