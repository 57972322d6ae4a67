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

from ich_tf import end_to_end
from ich_tf.config import TrainConfig
from ich_tf.end_to_end import EndToEndSpec
from ich_tf.errors import ConfigError, InputError
from ich_tf.model_spec import ModelSpec
from ich_tf.models import load_own_weights
from ich_tf.postprocessing import CALIBRATION
from ich_tf.series_model import SeriesSpec
from ich_tf.shards import file_sha256, read_json, write_json, write_text
from ich_tf.stack import keras

_LOG = logging.getLogger(__name__)

CONFIG = "config.json"
MODEL = "model.json"
BEST_WEIGHTS = "best.weights.h5"
HISTORY = "history.csv"
CURVES = "training_curves.png"
RUN = "run.json"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"
EPOCHS = "epochs"
ENSEMBLE = "ensemble.json"

# What a model can be.
Spec = ModelSpec | SeriesSpec | EndToEndSpec
_TRAIN = "Run python -m ich_tf.train --work_dir={} to train one."


def save_best(
    work_dir: str | Path,
    model: keras.Model,
    spec: Spec,
    *,
    epoch: int,
    val_loss: float,
) -> None:
    """Writes `best.weights.h5` and `model.json`.

    Killed at any moment, it leaves a pair that `load_best` reads: the old or the new.

    Args:
      work_dir: Made if need be.
      model: As `spec.build()` gives it.
      spec: Of the model.
      epoch: Counted from 1.
      val_loss: Of these weights.
    """
    work_dir = Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    path = work_dir / BEST_WEIGHTS
    # Keras chooses the format by the name's end.
    temporary = work_dir / f".tmp.{BEST_WEIGHTS}"
    model.save_weights(str(temporary))
    content = {
        "spec": dataclasses.asdict(spec),
        "sha256": file_sha256(temporary),
        # Two files cannot be replaced at once; in between, the old weights still stand.
        "previous_sha256": file_sha256(path) if path.is_file() else None,
        "epoch": epoch,
        "val_loss": val_loss,
    }
    write_json(work_dir / MODEL, content)
    temporary.replace(path)


def save_epoch(work_dir: str | Path, model: keras.Model, epoch: int) -> None:
    """Writes the weights of an epoch, counted from 1, into `epochs/`."""
    path = Path(work_dir) / EPOCHS / f"epoch-{epoch:03d}.weights.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp.{path.name}")
    model.save_weights(str(temporary))
    temporary.replace(path)


def epoch_weights(work_dir: str | Path) -> list[str]:
    """The weights of the epochs that were kept, in order, as paths within the work dir."""
    return sorted(f"{EPOCHS}/{path.name}" for path in (Path(work_dir) / EPOCHS).glob("epoch-*.h5"))


def load_best(work_dir: str | Path) -> tuple[keras.Model, Spec]:
    """Builds the model of `model.json` and reads `best.weights.h5` into it.

    Returns:
      The model, under the current strategy's scope and dtype policy, and its spec.

    Raises:
      InputError: If the folder holds no model, or a file of it is damaged or of another run.
    """
    model, spec, _ = load_model(work_dir)
    return model, spec


def load_model(
    work_dir: str | Path, weights: str = BEST_WEIGHTS, sha256: str = ""
) -> tuple[keras.Model, Spec, str]:
    """Builds the model of `model.json` and reads weights of its run into it.

    Args:
      work_dir: Of the run.
      weights: Path of the file within it.
      sha256: That the file must have; empty for that of `model.json`, or for the weights of an
        epoch any.

    Returns:
      The model, under the current strategy's scope and dtype policy, its spec, and the SHA-256 of
      its weights.

    Raises:
      InputError: As `load_best`.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise InputError(f"{work_dir}: no such work dir. {_TRAIN.format(work_dir)}")
    spec, hashes = _read_model_json(work_dir)
    path = work_dir / weights
    if not path.is_file():
        raise InputError(f"{path}: no such file. {_TRAIN.format(work_dir)}")
    found = file_sha256(path)
    if (sha256 and found != sha256) or (weights == BEST_WEIGHTS and found not in hashes):
        raise InputError(
            f"{path}: its SHA-256 is not the one that was noted when it was made; the file is "
            "damaged or of another run. Copy it from where it was made, or train again."
        )
    model = spec.build()
    try:
        load_own_weights(model, path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: not weights of the {spec.backbone} that {MODEL} describes ({error}). "
            "Train again, or copy both files from one run."
        ) from error
    return model, spec, found


def read_spec(work_dir: str | Path) -> Spec:
    """What kind of model a folder holds.

    Raises:
      InputError: If it holds none.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise InputError(f"{work_dir}: no such work dir. {_TRAIN.format(work_dir)}")
    return _read_model_json(work_dir)[0]


def _read_model_json(work_dir: Path) -> tuple[Spec, tuple[str, ...]]:
    path = work_dir / MODEL
    try:
        content = json.loads(path.read_text("utf-8"))
        hashes = (content["sha256"], content["previous_sha256"])
        return _spec(dict(content["spec"])), tuple(value for value in hashes if value)
    except FileNotFoundError as error:
        raise InputError(
            f"{work_dir}: holds no trained model (no {MODEL}). {_TRAIN.format(work_dir)}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: does not describe a model of this version of ich_tf ({error}). Train again."
        ) from error


def _spec(values: dict[str, Any]) -> Spec:
    """The inverse of `dataclasses.asdict`, by way of JSON."""
    kind = values.get("kind")
    if kind == end_to_end.KIND:
        network, series = _spec(values.pop("network")), _spec(values.pop("series"))
        return EndToEndSpec(network=network, series=series, **values)  # type: ignore[arg-type]
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return SeriesSpec(**values) if kind == "series" else ModelSpec(**values)


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
      data: Of the run, as `run_log.describe_data` gives it; None compares no data.

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
    former = read_json(work_dir / RUN)["data"]
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
