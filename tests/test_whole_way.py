"""The commands, as a user types them: convert, train, evaluate, predict."""

import dataclasses
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_tf.errors import InputError
from ich_tf.evaluation.config import EvaluateConfig
from ich_tf.evaluation.evaluate import evaluate
from ich_tf.inference.config import PredictConfig
from ich_tf.inference.prediction.predict import predict
from ich_tf.labels import CLASSES, read_labels, read_submission, write_long_csv
from ich_tf.metrics import weighted_log_loss
from ich_tf.training.config import TrainConfig
from ich_tf.training.trainer import train
from tests.support.commands import Command
from tests.support.runs import smoke_config


@pytest.fixture(scope="module")
def evaluated(
    run_command: Command, data_dir: Path, work_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder with the scores and predictions of the test split, and what the command printed."""
    folder = tmp_path_factory.mktemp("evaluated")
    done = run_command(
        "ich_tf.evaluate",
        f"--data_dir={data_dir}",
        f"--work_dir={work_dir}",
        f"--out_dir={folder}",
        "--bootstrap=0",
        "--noreport",
    )
    (folder / "stdout.txt").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def submission(
    run_command: Command,
    phantom_dir: Path,
    work_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A submission for the phantoms' test set, with what is written beside it."""
    path = tmp_path_factory.mktemp("submission") / "submission.csv"
    run_command(
        "ich_tf.predict",
        f"--dicom_dir={phantom_dir / 'stage_2_test'}",
        f"--work_dir={work_dir}",
        f"--out_csv={path}",
    )
    return path


def test_evaluation_is_exact(evaluated: Path, data_dir: Path) -> None:
    metrics = json.loads((evaluated / "metrics.json").read_text())
    table = pd.read_csv(evaluated / "predictions.csv")
    labels = table[[f"label_{name}" for name in CLASSES]].to_numpy()
    assert metrics["loss"] == pytest.approx(
        weighted_log_loss(labels, table[list(CLASSES)].to_numpy()), rel=1e-12
    )
    assert len(table) == table["source_id"].nunique() == metrics["num_slices"]
    manifest = json.loads((data_dir / "manifest.json").read_text())
    assert set(table["patient_key"]) == set(manifest["patients"]["test"])
    train_patients = {p for fold in (1, 2) for p in manifest["patients"][f"fold-{fold}"]}
    assert not train_patients & set(table["patient_key"])
    # The constant predictor says the training folds' prior.
    counts = np.zeros(6)
    records = 0
    for shard in manifest["shards"]:
        if shard["split"] in ("fold-1", "fold-2"):
            counts += shard["label_counts"]
            records += shard["num_records"]
    constant = np.broadcast_to(counts / records, labels.shape)
    assert metrics["constant_loss"] == pytest.approx(weighted_log_loss(labels, constant), rel=1e-12)
    assert f"{metrics['loss']:.4f}" in (evaluated / "stdout.txt").read_text()


def test_a_submission_has_the_samples_ids_in_their_order(
    phantom_dir: Path, submission: Path
) -> None:
    sample = (phantom_dir / "stage_2_sample_submission.csv").read_text().splitlines()
    written = submission.read_text().splitlines()
    assert [line.split(",")[0] for line in written] == [line.split(",")[0] for line in sample]
    table = read_submission(submission)
    assert table.to_numpy().std() > 0
    summary = pd.read_csv(submission.with_name("submission_series.csv"))
    assert summary["num_slices"].sum() == len(table)
    assert summary["any"].max() == pytest.approx(table["any"].max())
    assert len(pd.read_csv(submission.with_name("submission_rejected.csv"))) == 0


def test_prediction_equals_evaluation_slice_by_slice(
    run_command: Command, phantom_dir: Path, work_dir: Path, evaluated: Path, tmp_path: Path
) -> None:
    """Conversion and prediction share their code: the same file, the same probabilities."""
    probabilities = pd.read_csv(evaluated / "predictions.csv").set_index("source_id")
    archive_path = tmp_path / "test_patients.zip"
    with zipfile.ZipFile(archive_path, "w") as archive:
        for image_id in probabilities.index:
            archive.write(phantom_dir / "stage_2_train" / f"{image_id}.dcm", f"d/{image_id}.dcm")
    out = tmp_path / "zip.csv"
    run_command(
        "ich_tf.predict",
        f"--dicom_dir={archive_path}",
        f"--work_dir={work_dir}",
        f"--out_csv={out}",
        "--num_workers=1",
    )
    predicted = read_submission(out).loc[probabilities.index]
    np.testing.assert_allclose(predicted[list(CLASSES)], probabilities[list(CLASSES)], atol=1e-5)


def test_unreadable_and_missing_images_get_the_prior_and_are_named(
    run_command: Command, phantom_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(phantom_dir / "stage_2_test", tmp_path / "dicom"))
    broken, gone = sorted(source.glob("*.dcm"))[:2]
    broken.write_bytes(broken.read_bytes()[:5000])
    gone.unlink()
    done = run_command(
        "ich_tf.predict",
        f"--dicom_dir={source}",
        f"--work_dir={work_dir}",
        f"--out_csv={tmp_path / 's.csv'}",
        f"--sample_csv={phantom_dir / 'stage_2_sample_submission.csv'}",
    )
    table = read_submission(tmp_path / "s.csv")
    prior = json.loads((work_dir / "model.json").read_text())["spec"]["prior"]
    for path in (broken, gone):
        np.testing.assert_allclose(table.loc[path.stem], prior, rtol=1e-12)
    assert "2 of" in done.stderr
    (row,) = pd.read_csv(tmp_path / "s_rejected.csv").to_dict("records")
    assert (row["path"], row["reason"]) == (broken.name, "TRUNCATED_PIXELS")


def test_a_single_file(phantom_dir: Path, work_dir: Path, tmp_path: Path) -> None:
    path = sorted((phantom_dir / "stage_2_train").glob("*.dcm"))[0]
    out = tmp_path / "single.csv"
    predict(PredictConfig(dicom_dir=str(path), work_dir=str(work_dir), out_csv=str(out)))
    assert list(read_submission(out).index) == [path.stem]


def test_running_the_same_training_again_finds_it_finished(
    run_command: Command, data_dir: Path, work_dir: Path
) -> None:
    before = (work_dir / "best.weights.h5").read_bytes()
    done = run_command(
        "ich_tf.train",
        "--flagfile=configs/smoke.flags",
        f"--data_dir={data_dir}",
        f"--work_dir={work_dir}",
        "--strategy=mirrored",
        "--cpu_replicas=2",
        "--epochs=2",
    )
    assert "finished" in done.stderr
    assert (work_dir / "best.weights.h5").read_bytes() == before


def test_training_on_other_data_or_settings_is_refused(
    data_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    none = tmp_path / "none"
    with pytest.raises(InputError, match="no such folder"):
        train(smoke_config(none, none))
    with pytest.raises(InputError, match="3 folds"):
        train(smoke_config(data_dir, none, validation_fold="7"))
    config = TrainConfig.from_json((work_dir / "config.json").read_text())
    with pytest.raises(InputError, match="another config"):
        train(dataclasses.replace(config, learning_rate=0.5))
    assert not none.exists()


def test_evaluation_of_nothing_is_refused(data_dir: Path, work_dir: Path, tmp_path: Path) -> None:
    data = str(data_dir)
    with pytest.raises(InputError, match="no such work dir"):
        evaluate(EvaluateConfig(data_dir=data, work_dir=str(tmp_path / "none")))
    with pytest.raises(InputError, match="fold-9"):
        evaluate(EvaluateConfig(data_dir=data, work_dir=str(work_dir), split="fold-9"))


def test_prediction_of_other_files_or_by_damaged_weights_is_refused(
    run_command: Command, phantom_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    config = PredictConfig(
        dicom_dir=str(phantom_dir / "stage_2_test"),
        work_dir=str(work_dir),
        out_csv=str(tmp_path / "x.csv"),
    )
    with pytest.raises(InputError, match="no such file"):
        predict(dataclasses.replace(config, dicom_dir=str(tmp_path / "none")))
    other = tmp_path / "other.csv"
    write_long_csv(other, ["ID_other"], np.full((1, 6), 0.5))
    with pytest.raises(InputError, match="none of its 1 images"):
        predict(dataclasses.replace(config, sample_csv=str(other)))
    damaged = Path(shutil.copytree(work_dir, tmp_path / "w"))
    weights = bytearray((damaged / "best.weights.h5").read_bytes())
    weights[len(weights) // 2] ^= 1
    (damaged / "best.weights.h5").write_bytes(weights)
    failed = run_command(
        "ich_tf.predict",
        f"--work_dir={damaged}",
        f"--dicom_dir={config.dicom_dir}",
        f"--out_csv={config.out_csv}",
        code=1,
    )
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("error:")]
    assert "SHA-256" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("conversion", "training"),
    [
        (["--encoding=hu16"], ["--flip", "--window_jitter=0.1"]),
        (["--crop=head"], ["--neighbours=3", "--negative_fraction=0.5"]),
        (
            ["--crop=head", "--masks_dir={masks}"],
            ["--segmentation", "--neighbours=3", "--rotate=9"],
        ),
        (
            [],
            [
                *("--segmentation", "--pooling=lse", "--mask_weight=0", "--xla=on"),
                *("--ema_decay=0.9", "--self_training=1"),
            ],
        ),
    ],
)
def test_prediction_sees_what_training_saw(
    conversion: list[str],
    training: list[str],
    run_command: Command,
    phantom_dir: Path,
    tmp_path: Path,
) -> None:
    data, work = tmp_path / "data", tmp_path / "work"
    run_command(
        "tools.make_tfrecords",
        f"--dicom_dir={phantom_dir / 'stage_2_train'}",
        f"--labels_csv={phantom_dir / 'stage_2_train.csv'}",
        f"--out_dir={data}",
        "--image_size=64",
        "--num_folds=3",
        "--test_fraction=0.2",
        *(flag.format(masks=phantom_dir / "stage_2_train_masks") for flag in conversion),
    )
    flags = (f"--data_dir={data}", f"--work_dir={work}")
    run_command("ich_tf.train", "--flagfile=configs/smoke.flags", *flags, *training)
    run_command("ich_tf.evaluate", *flags, f"--out_dir={tmp_path}", "--bootstrap=0", "--noreport")
    evaluated = pd.read_csv(tmp_path / "predictions.csv").set_index("source_id")
    source = tmp_path / "dicom"
    source.mkdir()
    for image_id in evaluated.index:
        name = f"{image_id}.dcm"
        shutil.copy(phantom_dir / "stage_2_train" / name, source / name)
    (source / "broken.dcm").write_bytes(b"no DICOM file")
    run_command(
        "ich_tf.predict",
        f"--dicom_dir={source}",
        f"--work_dir={work}",
        f"--out_csv={tmp_path / 'found.csv'}",
        "--batch_size=7",
    )
    predicted = read_submission(tmp_path / "found.csv").loc[evaluated.index]
    np.testing.assert_allclose(predicted[list(CLASSES)], evaluated[list(CLASSES)], atol=1e-5)
    assert len(pd.read_csv(tmp_path / "found_rejected.csv")) == 1


def test_the_hidden_truth_scores_the_submission(phantom_dir: Path, submission: Path) -> None:
    truth = read_labels(phantom_dir / "stage_2_test_labels.csv")
    table = read_submission(submission).loc[truth.index]
    assert 0 < weighted_log_loss(truth.to_numpy(), table.to_numpy()) < 2


@pytest.mark.slow
def test_predict_runs_on_a_real_series(
    run_command: Command, real_dicom: Path, work_dir: Path, tmp_path: Path
) -> None:
    run_command(
        "ich_tf.predict",
        f"--dicom_dir={real_dicom / 'ge_head'}",
        f"--work_dir={work_dir}",
        f"--out_csv={tmp_path / 'ge.csv'}",
    )
    assert len(read_submission(tmp_path / "ge.csv")) == 28
    (series,) = pd.read_csv(tmp_path / "ge_series.csv").to_dict("records")
    assert series["num_slices"] == 28
    (rejected,) = pd.read_csv(tmp_path / "ge_rejected.csv").to_dict("records")
    assert (rejected["path"], rejected["reason"]) == ("LICENSE.txt", "NOT_DICOM")
