"""Records of a run for people to read: its origin in run.json, and its course in logs."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

from ich_tf.models import run_files
from ich_tf.models.origins import Origin, dump_run, read_origin
from ich_tf.models.run_json import read_run
from ich_tf.runtime.files import write_json
from ich_tf.runtime.writing import writing
from ich_tf.training.curves import training_curves
from ich_tf.training.history import EpochResult, write_history

_TRAIN_ANEW = "Give --overwrite to start anew."
_PACKAGES = (
    "ich-tf",
    "tensorflow",
    "keras",
    "tf-keras",
    "tensorflow-addons",
    "numpy",
    "pandas",
    "pydicom",
)


def describe_session(choices: dict[str, str]) -> dict[str, Any]:
    """Describes the software and hardware that a run starts with.

    Args:
      choices: Choices of the run by its hardware, as from `Hardware.describe`.
    """
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "git_commit": _git_commit(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "gpus": [
            tf.config.experimental.get_device_details(gpu).get("device_name", "unknown")
            for gpu in tf.config.list_physical_devices("GPU")
        ],
        **choices,
    }


def write_run(
    work_dir: Path, data: dict[str, Any], origin: Origin, session: dict[str, Any]
) -> None:
    """Writes `run.json`, with one entry for each start of the run, and the run's id.

    What a run started from is noted once: the file may be another one when it continues.

    Args:
      work_dir: Folder of the run.
      data: Fingerprint of the run's data, as `Task.data`.
      origin: The run's own origin.
      session: Description of this start, as from `describe_session`.
    """
    path = work_dir / run_files.RUN
    former = read_run(work_dir, _TRAIN_ANEW) if path.is_file() else {}
    if former:
        origin = dataclasses.replace(origin, ancestors=read_origin(work_dir).ancestors)
    sessions = [*former.get("sessions", []), session]
    run_id = former.get("id") or uuid.uuid4().hex
    write_json(path, {"id": run_id, "data": data, **dump_run(origin), "sessions": sessions})


class RunLog:
    """history.csv, training_curves.png and TensorBoard's logs of a run."""

    def __init__(self, work_dir: Path, writer: tf.summary.SummaryWriter) -> None:
        """Stores where to log.

        Args:
          work_dir: Folder for history.csv and training_curves.png.
          writer: TensorBoard's writer.
        """
        self._work_dir = work_dir
        self._writer = writer

    @classmethod
    @contextmanager
    def open(cls, work_dir: Path, *, tensorboard: bool) -> Iterator[RunLog]:
        """Opens the logs of a run, and writes TensorBoard's last lines at the end.

        Args:
          work_dir: Folder of the logs.
          tensorboard: Whether to log for TensorBoard.
        """
        writer = tf.summary.create_noop_writer()
        if tensorboard:
            with writing(work_dir / run_files.TENSORBOARD):
                writer = tf.summary.create_file_writer(str(work_dir / run_files.TENSORBOARD))
        try:
            yield cls(work_dir, writer)
        finally:
            with writing(work_dir / run_files.TENSORBOARD):
                writer.close()

    def step(self, step: int, values: dict[str, float]) -> None:
        """Logs numbers for TensorBoard.

        Args:
          step: Number of steps that the run has taken.
          values: Numbers by name.
        """
        folder = self._work_dir / run_files.TENSORBOARD
        with writing(folder), self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def epoch(self, history: Sequence[EpochResult], step: int, constant_loss: float) -> None:
        """Logs the last epoch, and draws the curves of all.

        Args:
          history: Results of the epochs so far, one or more.
          step: Number of steps that the run has taken.
          constant_loss: Validation loss of a constant predictor, the training prior.
        """
        write_history(self._work_dir / run_files.HISTORY, history)
        training_curves(
            self._work_dir / run_files.CURVES,
            [result.train_loss for result in history],
            [result.val_loss for result in history],
            constant_loss,
            [result.learning_rate for result in history],
        )
        row = history[-1].row()
        row.pop("epoch")
        self.step(step, {f"epoch/{name}": value for name, value in row.items()})
        with writing(self._work_dir / run_files.TENSORBOARD):
            self._writer.flush()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _git_commit() -> str | None:
    """Commit of the checkout that this code runs from, with `-dirty` if files were changed."""
    try:
        process = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() if process.returncode == 0 else None


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
