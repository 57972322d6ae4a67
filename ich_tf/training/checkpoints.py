"""Checkpoints of a run: model, optimizer and progress, to resume at any step."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from pathlib import Path
from typing import Any

import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.models.run_files import CHECKPOINTS
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.paths import plain_path
from ich_tf.runtime.writing import writing

# Beginnings of the names in a checkpoint of the optimizer's state, of both kinds of optimizer.
_OPTIMIZER_STATE = ("optimizer/slots/", "optimizer/optimizer/")

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass
class RunProgress:
    """How far a run has come.

    Attributes:
      epoch: Number of epochs that are finished, validation included.
      step: Steps taken of the next epoch.
      loss_sum: Sum of the losses of these steps.
      seconds: Time that these steps took, s.
      waited: Part of `seconds` in which the devices waited for a batch, s.
      best_loss: Least validation loss so far; infinite before the first validation.
      best_epoch: Epoch of `best_loss`, counted from 1; 0 before the first validation.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    best_loss: float = math.inf
    best_epoch: int = 0

    def finish_epoch(self, val_loss: float) -> bool:
        """Goes on to the next epoch.

        Args:
          val_loss: Validation loss of the epoch that ends.

        Returns:
          Whether that epoch is the best so far.
        """
        self.epoch += 1
        self.step, self.loss_sum, self.seconds, self.waited = 0, 0.0, 0.0, 0.0
        if val_loss >= self.best_loss:
            return False
        self.best_loss, self.best_epoch = val_loss, self.epoch
        return True


class _ProgressState(tf.train.experimental.PythonState):  # type: ignore[misc]
    """A `RunProgress` within a checkpoint, as JSON, which keeps floats to the bit."""

    def __init__(self, progress: RunProgress) -> None:
        self.progress = progress

    def serialize(self) -> str:
        return json.dumps(dataclasses.asdict(self.progress))

    def deserialize(self, string_value: str | bytes) -> None:
        for name, value in json.loads(string_value).items():
            setattr(self.progress, name, value)


class TrainingState:
    """The whole state of a run, in `checkpoints/`; the last three are kept.

    Attributes:
      progress: Progress of the run, saved and restored with the rest.
    """

    def __init__(
        self,
        work_dir: str | Path,
        model: keras.Model,
        optimizer: Any,
        variables: dict[str, Any] | None = None,
        *,
        write_to: str | Path | None = None,
    ) -> None:
        """Tracks a model and its built optimizer; call it under the strategy's scope.

        Args:
          work_dir: Folder to restore from.
          model: The model, built.
          optimizer: Its optimizer, with its variables.
          variables: Further variables by name, as from `TrainingStep.state`.
          write_to: Folder to save into; None for `work_dir`. Each of several workers must write a
            checkpoint, but only the chief writes into the work dir.
        """
        self.progress = RunProgress()
        self._checkpoint = tf.train.Checkpoint(
            model=model,
            optimizer=optimizer,
            progress=_ProgressState(self.progress),
            **(variables or {}),
        )
        self._folder = Path(work_dir) / CHECKPOINTS
        target = Path(write_to or work_dir)
        target.mkdir(parents=True, exist_ok=True)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(plain_path(target) / CHECKPOINTS), max_to_keep=3
        )

    def restore(self) -> bool:
        """Restores the last checkpoint that can be read.

        Returns:
          Whether the folder holds a checkpoint.

        Raises:
          InputError: If all checkpoints are damaged or of another model, or the last that can be
            read is of a former version.
        """
        folder = plain_path(self._folder.parent) / CHECKPOINTS
        listed = tf.train.get_checkpoint_state(str(folder))
        names = [Path(path).name for path in listed.all_model_checkpoint_paths] if listed else []
        paths = [self._folder / name for name in names]
        problems = []
        for path in reversed(paths):
            try:
                is_of_this_version = _is_of_this_version(folder / path.name)
                if is_of_this_version:
                    self._checkpoint.restore(str(folder / path.name)).assert_consumed()
            # TensorFlow raises an IndexError for a file that ends too soon.
            except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
                problems.append(str(error).strip().splitlines()[0])
                continue
            if not is_of_this_version:
                raise InputError(
                    f"{path}: this checkpoint holds the optimizer's state as a former version of "
                    "ich_tf kept it, and cannot be continued. Finish the run with the version that "
                    "its run.json names, or give --overwrite to start anew, or another --work_dir; "
                    "its best.weights.h5 can be used as before."
                )
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
        """Writes a checkpoint, whole or not at all."""
        with writing(self._manager.directory):
            self._manager.save()


def _is_of_this_version(path: Path) -> bool:
    """Whether a checkpoint's optimizer is one of `optimizers.make_optimizer`, and not Keras's."""
    names = tf.train.load_checkpoint(str(path)).get_variable_to_shape_map()
    return any(name.startswith(_OPTIMIZER_STATE) for name in names)
