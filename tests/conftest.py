import os
import signal

# In the background of a shell, and under nohup, they are ignored, and by all children, too: tests
# that send them would wait for an end that does not come.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Before anything imports TensorFlow; the commands set the same (ich_tf/runtime/command.py).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import shutil
from pathlib import Path

import pytest

from tests.support.commands import Command, run
from tests.support.conversions import config_for
from tests.support.once import made_once


@pytest.fixture(scope="session")
def run_command() -> Command:
    """`tests.support.commands.run`."""
    return run


@pytest.fixture(scope="session")
def real_dicom() -> Path:
    """The folder of real CT files; the test skips, visibly, where there is none."""
    folder = os.environ.get("ICH_TF_REAL_DICOM")
    if not folder:
        pytest.skip("ICH_TF_REAL_DICOM is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def phantom_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set in RSNA's layout; shared, so tests that change it copy it first."""
    from ich_tf.phantom import PhantomConfig, write_dataset

    config = PhantomConfig(num_patients=12, seed=3, matrix=64, masks=True)
    return made_once(
        tmp_path_factory, "phantoms", lambda folder: write_dataset(folder, config, num_workers=2)
    )


@pytest.fixture(scope="session")
def data_dir(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms as TFRecords of 64 px in three folds; shared, so copy before damaging."""
    from ich_tf.conversion.convert import convert

    return made_once(
        tmp_path_factory,
        "tfrecords",
        lambda folder: convert(config_for(phantom_dir, folder, image_size=64)),
    )


@pytest.fixture(scope="session")
def masked_dir(data_dir: Path, phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data_dir` with masks, but of one slice of three; shared."""
    from tests.support.masked_records import add_masks

    return made_once(
        tmp_path_factory, "masked", lambda folder: add_masks(data_dir, phantom_dir, folder)
    )


@pytest.fixture(scope="session")
def mixed_dir(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data_dir` with the labels of exams, and those of slices for one exam of three; shared."""
    from tests.support.exam_records import a_third_labelled, with_exams

    return made_once(
        tmp_path_factory, "mixed", lambda folder: with_exams(data_dir, folder, a_third_labelled)
    )


@pytest.fixture(scope="session")
def work_dir(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the smoke recipe on `data_dir`, two epochs kept; shared, so copy before changing."""
    return made_once(
        tmp_path_factory,
        "run",
        lambda folder: run(
            "ich_tf.train",
            "--flagfile=configs/smoke.flags",
            f"--data_dir={data_dir}",
            f"--work_dir={folder}",
            "--strategy=mirrored",
            "--cpu_replicas=2",
            "--epochs=2",
            "--keep_epochs",
        ),
    )


@pytest.fixture(scope="session")
def folds_dir(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short runs of all folds of `data_dir`; shared, so copy before changing."""
    return made_once(
        tmp_path_factory,
        "folds",
        lambda folder: run(
            "ich_tf.train",
            "--flagfile=configs/smoke.flags",
            f"--data_dir={data_dir}",
            f"--work_dir={folder}",
            "--validation_fold=all",
            "--max_steps_per_epoch=5",
        ),
    )


@pytest.fixture(scope="session")
def features_dir(data_dir: Path, folds_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of `data_dir` by the networks of `folds_dir`, as series; shared."""
    return made_once(
        tmp_path_factory,
        "features",
        lambda folder: run(
            "ich_tf.extract_features",
            f"--data_dir={data_dir}",
            f"--work_dir={folds_dir}",
            f"--out_dir={folder}",
            "--feature_dim=8",
            "--num_aligned=200",
            "--batch_size=16",
        ),
    )


@pytest.fixture
def work_copy(work_dir: Path, tmp_path: Path) -> Path:
    """A copy of `work_dir` that a test may change."""
    return Path(shutil.copytree(work_dir, tmp_path / "work"))


@pytest.fixture
def data_copy(data_dir: Path, tmp_path: Path) -> Path:
    """A copy of `data_dir` that a test may damage."""
    return Path(shutil.copytree(data_dir, tmp_path / "data"))


def pytest_configure(config: pytest.Config) -> None:
    """Four logical CPUs for the whole session: TensorFlow wants to know before it starts."""
    if config.getoption("numprocesses", None):
        return  # The process that only deals tests to others; they wait for it.
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(4)]
    )
    tf.get_logger().setLevel("ERROR")
