"""The commands, as a user types them: convert, train, evaluate, predict."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_tf.labels import CLASSES, read_labels, read_submission, write_long_csv
from ich_tf.metrics import weighted_log_loss
from tests.support.commands import Command


def test_evaluation_is_exact(
    run_command: Command, data_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    done = run_command(
        "ich_tf.evaluate",
        f"--data_dir={data_dir}",
        f"--work_dir={work_dir}",
        f"--out_dir={tmp_path}",
        "--bootstrap=0",
        "--noreport",
    )
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    table = pd.read_csv(tmp_path / "predictions.csv")
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
    assert f"{metrics['loss']:.4f}" in done.stdout


def test_a_submission_has_the_samples_ids_in_their_order(
    run_command: Command, phantom_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "submission.csv"
    run_command(
        "ich_tf.predict",
        f"--dicom_dir={phantom_dir / 'stage_2_test'}",
        f"--work_dir={work_dir}",
        f"--out_csv={out}",
    )
    sample = (phantom_dir / "stage_2_sample_submission.csv").read_text().splitlines()
    written = out.read_text().splitlines()
    assert [line.split(",")[0] for line in written] == [line.split(",")[0] for line in sample]
    table = read_submission(out)
    assert table.to_numpy().std() > 0
    summary = pd.read_csv(tmp_path / "submission_series.csv")
    assert summary["num_slices"].sum() == len(table)
    assert summary["any"].max() == pytest.approx(table["any"].max())
    assert len(pd.read_csv(tmp_path / "submission_rejected.csv")) == 0


def test_prediction_equals_evaluation_slice_by_slice(
    run_command: Command, phantom_dir: Path, data_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    """Conversion and prediction share their rooms: the same file, the same probabilities."""
    run_command(
        "ich_tf.evaluate",
        f"--data_dir={data_dir}",
        f"--work_dir={work_dir}",
        f"--out_dir={tmp_path}",
        "--bootstrap=0",
        "--noreport",
    )
    evaluated = pd.read_csv(tmp_path / "predictions.csv").set_index("source_id")
    archive_path = tmp_path / "test_patients.zip"
    with zipfile.ZipFile(archive_path, "w") as archive:
        for image_id in evaluated.index:
            archive.write(phantom_dir / "stage_2_train" / f"{image_id}.dcm", f"d/{image_id}.dcm")
    out = tmp_path / "zip.csv"
    run_command(
        "ich_tf.predict",
        f"--dicom_dir={archive_path}",
        f"--work_dir={work_dir}",
        f"--out_csv={out}",
        "--num_workers=1",
    )
    predicted = read_submission(out).loc[evaluated.index]
    np.testing.assert_allclose(predicted[list(CLASSES)], evaluated[list(CLASSES)], atol=1e-5)


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


def test_a_single_file(
    run_command: Command, phantom_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    path = sorted((phantom_dir / "stage_2_train").glob("*.dcm"))[0]
    out = tmp_path / "one.csv"
    run_command(
        "ich_tf.predict", f"--dicom_dir={path}", f"--work_dir={work_dir}", f"--out_csv={out}"
    )
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


def test_inputs_that_do_not_match_are_refused_in_words(
    run_command: Command, phantom_dir: Path, data_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    data, work = f"--data_dir={data_dir}", f"--work_dir={work_dir}"
    smoke = "--flagfile=configs/smoke.flags"
    none = tmp_path / "none"

    def says(module: str, *flags: str) -> str:
        lines = run_command(module, *flags, code=1).stderr.splitlines()
        return next(line for line in lines if line.startswith("error:"))

    assert "no such folder" in says(
        "ich_tf.train", smoke, f"--data_dir={none}", f"--work_dir={none}"
    )
    assert "3 folds" in says(
        "ich_tf.train", smoke, data, f"--work_dir={none}", "--validation_fold=7"
    )
    assert "another config" in says("ich_tf.train", smoke, data, work, "--learning_rate=0.5")
    assert "no such work dir" in says("ich_tf.evaluate", data, f"--work_dir={none}")
    assert "fold-9" in says("ich_tf.evaluate", data, work, "--split=fold-9")
    assert "no such file" in says("ich_tf.predict", work, f"--dicom_dir={none}")
    empty = tmp_path / "other.csv"
    write_long_csv(empty, ["ID_other"], np.full((1, 6), 0.5))
    test = f"--dicom_dir={phantom_dir / 'stage_2_test'}"
    out = f"--out_csv={tmp_path / 'x.csv'}"
    assert "none of its 1 images" in says(
        "ich_tf.predict", work, test, out, f"--sample_csv={empty}"
    )
    # Weights of another run.
    other = Path(shutil.copytree(work_dir, tmp_path / "w"))
    data_bytes = bytearray((other / "best.weights.h5").read_bytes())
    data_bytes[len(data_bytes) // 2] ^= 1
    (other / "best.weights.h5").write_bytes(data_bytes)
    assert "SHA-256" in says("ich_tf.predict", f"--work_dir={other}", test, out)
    assert not none.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("conversion", "training"),
    [
        (["--encoding=hu16"], ["--flip", "--window_jitter=0.1"]),
        (["--crop=head"], ["--neighbours=3", "--negative_fraction=0.5"]),
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
        *conversion,
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


def test_the_hidden_truth_scores_the_submission(
    run_command: Command, phantom_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    """The whole circle: what predict wrote can be scored against the phantoms' own labels."""
    truth = read_labels(phantom_dir / "stage_2_test_labels.csv")
    run_command(
        "ich_tf.predict",
        f"--dicom_dir={phantom_dir / 'stage_2_test'}",
        f"--work_dir={work_dir}",
        f"--out_csv={tmp_path / 's.csv'}",
    )
    table = read_submission(tmp_path / "s.csv").loc[truth.index]
    assert 0 < weighted_log_loss(truth.to_numpy(), table.to_numpy()) < 2


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
