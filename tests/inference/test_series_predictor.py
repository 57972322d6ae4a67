"""A series model from DICOM files to a submission: evaluation and prediction agree."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_tf.dicom.geometry import position_along, series_normal
from ich_tf.dicom.reader import read_slice
from ich_tf.errors import InputError
from ich_tf.evaluation.config import EvaluateConfig
from ich_tf.evaluation.cross_validation import train_folds
from ich_tf.evaluation.evaluate import evaluate
from ich_tf.inference.calibration import calibrate
from ich_tf.inference.config import CalibrateConfig, ExportConfig, PredictConfig
from ich_tf.inference.export import TOLERANCE, answers_of, expected_answers, export
from ich_tf.inference.forward import make_logits_fn
from ich_tf.inference.prediction.predict import predict
from ich_tf.inference.series_predictor import SeriesPredictor, load_predictor
from ich_tf.labels import CLASSES, read_submission
from ich_tf.metrics import logit, sigmoid, weighted_log_loss
from ich_tf.models.series_model import pack, turned_series
from ich_tf.records.feature_manifest import FeatureManifest
from ich_tf.records.manifest import Manifest
from ich_tf.runtime.strategies import make_strategy
from ich_tf.training import trainer
from ich_tf.training.config import TrainConfig


@pytest.fixture(scope="module")
def series_dir(run_command, features_dir: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("series") / "w"
    run_command(
        "ich_tf.train",
        "--flagfile=configs/series.flags",
        f"--data_dir={features_dir}",
        f"--work_dir={folder}",
        "--units=16",
        "--batch_size=4",
        "--epochs=3",
        "--learning_rate=1e-2",
    )
    return folder


@pytest.mark.slow
@pytest.mark.second_stack
def test_a_fold_is_predicted_by_the_network_that_was_not_trained_on_it(
    data_dir: Path, features_dir: Path, series_dir: Path
) -> None:
    predictor = load_predictor(series_dir, make_strategy("one"))
    assert isinstance(predictor, SeriesPredictor) and len(predictor.members) == 3
    predictions = predictor.predict_split(Manifest.load(data_dir), "fold-0", 16)
    by_id = dict(zip(predictions.source_id, predictions.logits, strict=True))
    model = predictor.models[0].model
    logits_fn = make_logits_fn(model, make_strategy("one"))
    for series in FeatureManifest.load(features_dir).read("fold-0"):
        assert series.network == 0
        packed = pack(series, 48)
        there, back = logits_fn(np.stack([packed, turned_series(packed, len(series))]))
        expected = (there[1 : 1 + len(series)] + back[1 : 1 + len(series)][::-1]) / 2
        np.testing.assert_allclose(
            np.stack([by_id[name] for name in series.source_id]), expected, atol=1e-4
        )


@pytest.mark.slow
def test_test_patients_are_read_by_all_networks(
    data_dir: Path, features_dir: Path, series_dir: Path
) -> None:
    predictor = load_predictor(series_dir, make_strategy("one"))
    predictions = predictor.predict_split(Manifest.load(data_dir), "test", 16)
    by_id = dict(zip(predictions.source_id, predictions.logits, strict=True))
    by_series: dict[str, list[np.ndarray]] = {}
    ids = {}
    for series in FeatureManifest.load(features_dir).read("test"):
        packed = pack(series, 48)
        there, back = predictor.models[0].logits_fn(
            np.stack([packed, turned_series(packed, len(series))])
        )
        logits = (there[1 : 1 + len(series)] + back[1 : 1 + len(series)][::-1]) / 2
        by_series.setdefault(series.series_key, []).append(sigmoid(logits))
        ids[series.series_key] = series.source_id
    for key, each in by_series.items():
        assert len(each) == 3
        expected = logit(np.mean(each, axis=0))
        np.testing.assert_allclose(np.stack([by_id[i] for i in ids[key]]), expected, atol=1e-4)


@pytest.mark.slow
def test_prediction_equals_evaluation_whatever_the_batch_and_the_files_order(
    phantom_dir: Path, data_dir: Path, series_dir: Path, tmp_path: Path
) -> None:
    work_dir = Path(shutil.copytree(series_dir, series_dir.parent / "calibrated"))
    places = {"data_dir": str(data_dir), "work_dir": str(work_dir)}
    assert "fold-0" in calibrate(CalibrateConfig(**places, flip=True)).report()
    evaluate(EvaluateConfig(**places, out_dir=str(tmp_path), bootstrap=20))
    levels = json.loads((tmp_path / "metrics.json").read_text())["levels"]
    assert levels["series_model"]["number"] == levels["series_max"]["number"] > 0
    assert "by the model that reads it whole" in (tmp_path / "report.html").read_text()
    card = (tmp_path / "model_card.md").read_text()
    assert "backbone=bigru" in card and "slices_sha256" in card
    assert "3 networks over slices (tiny), and 1 model over their features" in card
    evaluated = pd.read_csv(tmp_path / "predictions.csv").set_index("source_id")
    source = tmp_path / "dicom"
    source.mkdir()
    names = list(evaluated.index)
    # Other names, hence another order.
    for number, name in enumerate(np.random.default_rng(0).permutation(names)):
        shutil.copy(phantom_dir / "stage_2_train" / f"{name}.dcm", source / f"{number:05d}.dcm")
    (source / "broken.dcm").write_bytes(b"none")
    tables, wholes = [], []
    for batch_size in (5, 32):
        out = tmp_path / f"{batch_size}.csv"
        predict(
            PredictConfig(
                dicom_dir=str(source),
                work_dir=str(work_dir),
                out_csv=str(out),
                batch_size=batch_size,
                num_workers=1,
            )
        )
        content = json.loads(out.with_name(f"{batch_size}_series.json").read_text())
        assert sum(len(summary["slices"]) for summary in content["series"]) == len(names)
        tables.append(read_submission(out))
        series = pd.read_csv(out.with_name(f"{batch_size}_series.csv"))
        whole = [
            [summary["series_model"][name] for name in CLASSES] for summary in content["series"]
        ]
        columns = [f"{name}_series" for name in CLASSES]
        np.testing.assert_allclose(series[columns], whole, rtol=1e-12)
        wholes.append(whole)
    np.testing.assert_allclose(wholes[0], wholes[1], atol=1e-5)
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-5)
    shuffled = np.random.default_rng(0).permutation(names)
    predicted = tables[1].loc[[f"{number:05d}" for number in range(len(names))]]
    np.testing.assert_allclose(predicted, evaluated.loc[shuffled, list(CLASSES)], atol=1e-5)


@pytest.mark.slow
def test_a_slice_that_is_missing_or_broken_is_as_if_it_had_never_been(
    phantom_dir: Path, series_dir: Path, tmp_path: Path
) -> None:
    files = sorted((phantom_dir / "stage_2_train").glob("*.dcm"))
    slices = [(file, read_slice(file.read_bytes())) for file in files]
    key = slices[0][1].header.series_id
    members = [(file, slice_) for file, slice_ in slices if slice_.header.series_id == key]
    normal = series_normal([slice_.header for _, slice_ in members])
    members.sort(key=lambda pair: position_along(pair[1].header, normal))
    # Two from the middle: an uneven gap.
    lost = {file for file, _ in members[7:9]}
    tables = []
    for name in ("missing", "broken"):
        folder = tmp_path / name
        folder.mkdir()
        for file, _ in members:
            if file not in lost:
                shutil.copy(file, folder)
            elif name == "broken":
                (folder / file.name).write_bytes(file.read_bytes()[:2000])
        out = tmp_path / f"{name}.csv"
        result = predict(
            PredictConfig(
                dicom_dir=str(folder), work_dir=str(series_dir), out_csv=str(out), num_workers=1
            )
        )
        assert result.num_rejected == (2 if name == "broken" else 0)
        tables.append(read_submission(out))
    kept = [(file, slice_) for file, slice_ in members if file not in lost]
    predictor = load_predictor(series_dir, make_strategy("one"))
    expected = expected_answers(
        predictor,
        np.stack([slice_.hu for _, slice_ in kept]),
        np.array([position_along(slice_.header, normal) for _, slice_ in kept], np.float32),
        0.0,
    )["probabilities"]
    for table in tables:
        np.testing.assert_allclose(table.loc[[file.stem for file, _ in kept]], expected, atol=1e-5)


@pytest.mark.slow
def test_two_series_models_are_averaged(
    data_dir: Path, features_dir: Path, series_dir: Path
) -> None:
    other, together = series_dir.parent / "other", series_dir.parent / "together"
    trainer.train(
        TrainConfig(
            data_dir=str(features_dir),
            work_dir=str(other),
            backbone="transformer",
            weights="none",
            units=16,
            batch_size=4,
            epochs=2,
            mixed_precision="float32",
        )
    )
    calibration = calibrate(
        CalibrateConfig(
            data_dir=str(data_dir), work_dir=str(together), members=(str(series_dir), str(other))
        )
    )
    predictor = load_predictor(together, make_strategy("one"))
    assert isinstance(predictor, SeriesPredictor)
    assert len(predictor.models) == len(calibration.members) >= 1
    shares = {member.sha256: member.share for member in calibration.members}
    assert {member.sha256: member.share for member in predictor.models} == pytest.approx(shares)


@pytest.mark.slow
def test_series_models_of_all_folds(data_dir: Path, features_dir: Path, series_dir: Path) -> None:
    folder = series_dir.parent / "folds"
    made = TrainConfig(
        data_dir=str(features_dir), work_dir=str(folder), validation_fold="all", backbone="bigru",
        weights="none", units=8, layers=1, batch_size=2, epochs=1, learning_rate=1e-2,
        mixed_precision="float32", tensorboard=False,
    )  # fmt: skip
    results = train_folds(made)
    assert [result.work_dir.name for result in results] == ["fold-0", "fold-1", "fold-2"]
    assert [result.history for result in train_folds(made)] == [
        result.history for result in results
    ]
    calibration = calibrate(CalibrateConfig(data_dir=str(data_dir), work_dir=str(folder)))
    assert calibration.postprocessing.fitted_on["splits"] == ["fold-0", "fold-1", "fold-2"]
    strategy, manifest = make_strategy("one"), Manifest.load(data_dir)
    together = load_predictor(folder, strategy).predict_split(manifest, "test", 16)
    alone = [
        load_predictor(result.work_dir, strategy).predict_split(manifest, "test", 16)
        for result in results
    ]
    mean = np.mean([result.probabilities for result in alone], axis=0)
    np.testing.assert_allclose(together.probabilities, mean, atol=1e-5)
    # Each was validated on the fold that neither it nor the network it reads was trained on.
    out_of_fold = load_predictor(results[1].work_dir, strategy).predict_split(
        manifest, "fold-1", 16
    )
    loss = weighted_log_loss(out_of_fold.labels, out_of_fold.probabilities)
    assert loss == pytest.approx(results[1].best_val_loss, abs=1e-5)


@pytest.mark.slow
def test_other_networks_and_other_axes_are_refused(
    folds_dir: Path, series_dir: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(series_dir, moved / "w")
    with pytest.raises(InputError, match="no such work dir"):
        load_predictor(moved / "w", make_strategy("one"))
    spec = json.loads((series_dir / "model.json").read_text())["spec"]
    for path in spec["network_dirs"]:
        target = (moved / "w" / path).resolve()
        shutil.copytree((series_dir / path).resolve(), target, dirs_exist_ok=True)
    load_predictor(moved / "w", make_strategy("one"))
    first = (moved / "w" / spec["network_dirs"][0]).resolve()
    second = (moved / "w" / spec["network_dirs"][1]).resolve()
    for name in ("best.weights.h5", "model.json"):
        shutil.copy(second / name, first / name)
    with pytest.raises(InputError, match="SHA-256"):
        load_predictor(moved / "w", make_strategy("one"))
    copied = Path(shutil.copytree(series_dir, series_dir.parent / "copied"))
    (copied / "axes.npz").write_bytes(b"none")
    with pytest.raises(InputError, match="missing or damaged"):
        load_predictor(copied, make_strategy("one"))


@pytest.mark.slow
def test_it_is_exported(series_dir: Path, tmp_path: Path) -> None:
    folder = export(ExportConfig(work_dir=str(series_dir), out_dir=str(tmp_path), calibrated=False))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["inputs"].keys() == {"hu", "z_mm"}
    predictor = load_predictor(series_dir, make_strategy("one"), calibrated=False)
    rng = np.random.default_rng(0)
    hu = rng.integers(-100, 200, (7, 96, 96)).astype(np.float32)
    z_mm = np.array([0, 5, 10, 30, 15, 20, 25], np.float32)
    answers = answers_of(folder, hu, z_mm)
    expected = expected_answers(predictor, hu, z_mm, 0.0)
    assert expected["probabilities"].std(axis=0).max() > 1e-4
    assert manifest["outputs"].keys() == answers.keys() == {"probabilities", "series"}
    for name, values in expected.items():
        np.testing.assert_allclose(answers[name], values, atol=TOLERANCE)
