"""What a work dir holds: the best model, and the state to continue a run from.

    config.json          the run's config
    run.json             the data's hash; versions, commit and hardware of each start (`run_log`)
    model.json           its spec, and the SHA-256 of best.weights.h5
    best.weights.h5      the weights of the epoch with the least validation loss
    history.csv          a row an epoch
    training_curves.png  the same as a picture
    tensorboard/         the same for TensorBoard, and the loss between
    checkpoints/         the last three: model, optimizer, moving average, place in the data
    epochs/              with --keep_epochs each epoch's weights
    ensemble.json        which epochs to average, if so chosen (`ensemble`)
    calibration.json     what `calibration` fitted to the weights (`postprocessing`)

A model is always built in code, and only then are weights read into it: a Keras model file
may run code of whoever wrote it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf

from ich_tf.errors import ConfigError, InputError
from ich_tf.models.run_files import (
    BEST_WEIGHTS,
    CALIBRATION,
    CHECKPOINTS,
    CONFIG,
    CURVES,
    ENSEMBLE,
    EPOCHS,
    HISTORY,
    MODEL,
    RUN,
    TENSORBOARD,
)
from ich_tf.runtime.files import read_json, write_text
from ich_tf.runtime.keras2 import keras
from ich_tf.training.config import TrainConfig

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass
class Progress:
    """Where a run stands.

    Attributes:
      epoch: Finished ones, validation included.
      step: Steps taken of the next.
      loss_sum: Of these steps.
      seconds: That they took.
      waited: Of these, for input.
      best_loss: The least validation loss so far.
      best_epoch: Whose it was, from 1; 0 at first.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    best_loss: float = math.inf
    best_epoch: int = 0

    def finish_epoch(self, val_loss: float) -> bool:
        """Goes on to the next epoch; says whether the finished one is the best so far."""
        self.epoch += 1
        self.step, self.loss_sum, self.seconds, self.waited = 0, 0.0, 0.0, 0.0
        if val_loss >= self.best_loss:
            return False
        self.best_loss, self.best_epoch = val_loss, self.epoch
        return True


class _Stored(tf.train.experimental.PythonState):  # type: ignore[misc]
    """A `Progress` within a checkpoint, as JSON: it keeps floats to the bit."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def serialize(self) -> str:
        return json.dumps(dataclasses.asdict(self.progress))

    def deserialize(self, string_value: str | bytes) -> None:
        for name, value in json.loads(string_value).items():
            setattr(self.progress, name, value)


class TrainingState:
    """The whole state of a run, in `checkpoints/`; the last three are kept.

    Attributes:
      progress: Saved and restored with it.
    """

    def __init__(
        self,
        work_dir: str | Path,
        model: keras.Model,
        optimizer: Any,
        more: dict[str, Any] | None = None,
        *,
        write_to: str | Path | None = None,
    ) -> None:
        """Tracks a model and its built optimizer; call it under the strategy's scope.

        Args:
          work_dir: To restore from.
          model: As built.
          optimizer: With its variables.
          more: Further variables by name, as `TrainingStep.state`.
          write_to: Another folder to save into: of several workers, each writes, but only the
            chief into the work dir.
        """
        self.progress = Progress()
        self._checkpoint = tf.train.Checkpoint(
            model=model, optimizer=optimizer, progress=_Stored(self.progress), **(more or {})
        )
        self._folder = Path(work_dir) / CHECKPOINTS
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(Path(write_to or work_dir) / CHECKPOINTS), max_to_keep=3
        )

    def restore(self) -> bool:
        """Restores the last checkpoint that can be read.

        Returns:
          Whether there was one.

        Raises:
          InputError: If all are damaged or of another model.
        """
        known = tf.train.get_checkpoint_state(str(self._folder))
        paths = list(known.all_model_checkpoint_paths) if known is not None else []
        problems = []
        for path in reversed(paths):
            try:
                self._checkpoint.restore(path).assert_consumed()
            # IndexError: how TensorFlow says that a file ends too soon.
            except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
                problems.append(str(error).strip().splitlines()[0])
                continue
            if problems:
                _LOG.warning("%s: not readable (%s); %s is", paths[-1], problems[0], path)
            return True
        if problems:
            raise InputError(
                f"{paths[-1]}: this checkpoint and those before it are damaged or of another model "
                f"({problems[0]}). Give --overwrite to start anew, or another --work_dir."
            )
        return False

    def save(self) -> None:
        """Writes the state: whole, or not at all."""
        self._manager.save()


def check_work_dir(
    work_dir: str | Path, config: TrainConfig, data: dict[str, Any] | None = None
) -> None:
    """Checks that a run with this config on these data may continue what the folder holds.

    A folder without any checkpoint is free to use.

    Args:
      work_dir: The folder.
      config: Of the run.
      data: Of the run, as `Manifest.fingerprint` gives it; None compares no data.

    Raises:
      InputError: If the folder holds a run with another config or on other data, naming what
        differs, or a model without the state to continue from.
    """
    work_dir = Path(work_dir)
    if work_dir.exists() and not work_dir.is_dir():
        raise InputError(f"{work_dir} is a file; --work_dir must be a folder.")
    resumable = can_resume(work_dir)
    if config.overwrite or not (resumable or (work_dir / MODEL).exists()):
        return
    advice = "Give --overwrite to delete that run and start anew, or another --work_dir."
    if not resumable:
        raise InputError(
            f"{work_dir}: holds a trained model, but no checkpoint to continue from. {advice}"
        )
    try:
        before = TrainConfig.from_json((work_dir / CONFIG).read_text("utf-8"))
    except (OSError, ConfigError) as error:
        raise InputError(
            f"{work_dir}: holds a run whose {CONFIG} cannot be read ({error}). {advice}"
        ) from error
    differing = config.differences(before)
    if differing:
        raise InputError(
            f"{work_dir}: holds a run with another config ({'; '.join(differing)}). {advice}"
        )
    if data is None:
        return
    former = read_json(work_dir / RUN, advice)["data"]
    differing = [
        f"{name}: {data[name]!r} here, {former.get(name)!r} there"
        for name in data
        if data[name] != former.get(name)
    ]
    if differing:
        raise InputError(
            f"{work_dir}: holds a run on other data ({'; '.join(differing)}). {advice}"
        )


def start_work_dir(work_dir: str | Path, config: TrainConfig, *, resumed: bool) -> None:
    """Makes the folder and writes `config.json`; unless resumed, deletes a former run first."""
    work_dir = Path(work_dir)
    if not resumed:
        # Checkpoints first: killed in between, what remains is not taken for a run to continue.
        shutil.rmtree(work_dir / CHECKPOINTS, ignore_errors=True)
        shutil.rmtree(work_dir / TENSORBOARD, ignore_errors=True)
        shutil.rmtree(work_dir / EPOCHS, ignore_errors=True)
        for name in (MODEL, BEST_WEIGHTS, HISTORY, CURVES, CONFIG, RUN, ENSEMBLE, CALIBRATION):
            (work_dir / name).unlink(missing_ok=True)
    work_dir.mkdir(parents=True, exist_ok=True)
    # Of a run that was killed while it wrote a checkpoint.
    for unfinished in (work_dir / CHECKPOINTS).glob("*_temp"):
        shutil.rmtree(unfinished, ignore_errors=True)
    write_text(work_dir / CONFIG, config.to_json())


def can_resume(work_dir: str | Path) -> bool:
    """Whether the folder holds a checkpoint."""
    return tf.train.latest_checkpoint(str(Path(work_dir) / CHECKPOINTS)) is not None
