"""CQ500's layout from its files to a report, as a user types the commands."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_tf.labels import CLASSES
from ich_tf.phantom import PhantomConfig, write_dataset
from tests.support.commands import Command
from tests.support.cq500 import write_cq500

pytestmark = pytest.mark.slow
_PATIENTS = 40


@pytest.fixture(scope="module")
def cq500(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The set's folder, and the classes of each study."""
    folder = tmp_path_factory.mktemp("cq500")
    config = PhantomConfig(
        num_patients=_PATIENTS,
        seed=3,
        matrix=64,
        headers="archive",
        test_fraction=0.0,
        followup_fraction=0.0,
    )
    write_dataset(folder / "phantoms", config, num_workers=1)
    return folder / "cq500", write_cq500(folder / "phantoms", folder / "cq500")


@pytest.fixture(scope="module")
def converted(
    run_command: Command, cq500: tuple[Path, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Its records, with what the command printed."""
    folder = tmp_path_factory.mktemp("converted")
    done = run_command(
        "ich_tf.make_tfrecords",
        f"--dicom_dir={cq500[0]}",
        f"--labels_csv={cq500[0] / 'reads.csv'}",
        f"--out_dir={folder / 'data'}",
        "--image_size=64",
        "--num_folds=3",
        "--test_fraction=0.3",
        "--num_workers=1",
    )
    (folder / "stdout.txt").write_text(done.stdout)
    return folder / "data"


@pytest.fixture(scope="module")
def trained(
    run_command: Command, converted: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of one epoch, calibrated and evaluated."""
    folder = tmp_path_factory.mktemp("run") / "work"
    run_command(
        "ich_tf.train",
        "--flagfile=configs/smoke.flags",
        "--sequence=attention",
        f"--data_dir={converted}",
        f"--work_dir={folder}",
    )
    run_command("ich_tf.calibrate", f"--data_dir={converted}", f"--work_dir={folder}")
    run_command("ich_tf.evaluate", f"--data_dir={converted}", f"--work_dir={folder}")
    return folder


def test_each_study_is_an_exam_with_the_readers_labels(
    converted: Path, cq500: tuple[Path, np.ndarray]
) -> None:
    manifest = json.loads((converted / "manifest.json").read_text())
    assert sum(map(len, manifest["patients"].values())) == _PATIENTS
    printed = (converted.parent / "stdout.txt").read_text()
    assert "3 readers (R1, R2, R3)" in printed
    assert "Fleiss' kappa" in printed
    assert len(cq500[1]) == _PATIENTS


def test_the_scores_are_those_of_exams(trained: Path, cq500: tuple[Path, np.ndarray]) -> None:
    exams = pd.read_csv(trained / "evaluation" / "test" / "exams.csv")
    assert len(exams) == exams["patient_key"].nunique() == round(0.3 * _PATIENTS)
    labels = exams[[f"label_{name}" for name in CLASSES]].to_numpy()
    # Whatever patients the test set has, their labels are some of the readers'.
    truth = {tuple(row) for row in cq500[1]}
    assert {tuple(row) for row in labels} <= truth
    slices = pd.read_csv(trained / "evaluation" / "test" / "predictions.csv")
    assert slices[[f"label_{name}" for name in CLASSES]].isna().all(axis=None)
    assert "weakly supervised" in (trained / "evaluation" / "test" / "report.html").read_text()
