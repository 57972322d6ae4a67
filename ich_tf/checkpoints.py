"""What a work dir holds: the best model, and the state to continue a run from.

    config.json          the run's config
    model.json           ModelSpec, and the SHA-256 of best.weights.h5
    best.weights.h5      the weights of the epoch with the least validation loss
    history.csv          a row an epoch
    checkpoints/         the last epoch: model, optimizer, epoch, best loss

A model is always built in code, and only then are weights read into it: a Keras model file
may run code of whoever wrote it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf

from ich_tf.config import BACKBONES, TrainConfig
from ich_tf.errors import ConfigError, InputError
from ich_tf.labels import CLASSES
from ich_tf.models import build_model, load_own_weights
from ich_tf.records import CROPS
from ich_tf.shards import file_sha256, write_json, write_text

CONFIG = "config.json"
MODEL = "model.json"
BEST_WEIGHTS = "best.weights.h5"
HISTORY = "history.csv"
CHECKPOINTS = "checkpoints"

SPEC_VERSION = 1
_TRAIN = "Run python -m ich_tf.train --work_dir={} to train one."


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build a model again and to feed it.

    Attributes:
      backbone: One of `config.BACKBONES`.
      record_shape: (height, width, channels) of its input.
      image_size: What the backbone sees, px.
      windows: The presets of its channels, in order.
      stored_hu: The records hold Hounsfield units, and the model applies the windows.
      crop: What was cut out of a slice before resizing, one of `records.CROPS`.
      dropout, bn_momentum, freeze_bn: As in `config.TrainConfig`.
      prior: Each class's share of positives in the training folds: what a constant predictor
        says, and what a slice gets that cannot be read.
      classes: Of its logits, in order.
      version: `SPEC_VERSION`.
    """

    backbone: str
    record_shape: tuple[int, int, int]
    image_size: int
    windows: tuple[str, ...]
    stored_hu: bool = False
    crop: str = "none"
    dropout: float = 0.0
    bn_momentum: float = 0.0
    freeze_bn: bool = False
    prior: tuple[float, ...] = (0.5,) * len(CLASSES)
    classes: tuple[str, ...] = CLASSES
    version: int = SPEC_VERSION

    def __post_init__(self) -> None:
        if self.version != SPEC_VERSION:
            raise ValueError(f"version is {self.version}; this version reads {SPEC_VERSION}")
        if tuple(self.classes) != CLASSES:
            raise ValueError(f"classes are {', '.join(self.classes)}; expected {CLASSES}")
        if len(self.prior) != len(CLASSES) or not all(0 <= p <= 1 for p in self.prior):
            raise ValueError(f"prior is {self.prior}; expected {len(CLASSES)} probabilities")
        if self.backbone not in BACKBONES:
            raise ValueError(f"backbone is {self.backbone!r}; expected one of {BACKBONES}")
        if self.crop not in CROPS:
            raise ValueError(f"crop is {self.crop!r}; expected one of {CROPS}")
        channels = 1 if self.stored_hu else len(self.windows)
        if len(self.record_shape) != 3 or self.record_shape[2] != channels:
            raise ValueError(f"record_shape is {self.record_shape} for windows {self.windows}")

    def build(self, **initial: Any) -> tf.keras.Model:
        """Builds the model; `initial` are `build_model`'s `weights` and `bias`."""
        return build_model(
            self.backbone,
            self.record_shape,
            self.image_size,
            hu_windows=self.windows if self.stored_hu else (),
            dropout=self.dropout,
            bn_momentum=self.bn_momentum,
            freeze_bn=self.freeze_bn,
            **initial,
        )


def save_best(
    work_dir: str | Path, model: tf.keras.Model, spec: ModelSpec, *, epoch: int, val_loss: float
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


def load_best(work_dir: str | Path) -> tuple[tf.keras.Model, ModelSpec]:
    """Builds the model of `model.json` and reads `best.weights.h5` into it.

    Returns:
      The model, under the current strategy's scope and dtype policy, and its spec.

    Raises:
      InputError: If the folder holds no model, or a file of it is damaged or of another run.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise InputError(f"{work_dir}: no such work dir. {_TRAIN.format(work_dir)}")
    spec, hashes = _read_model_json(work_dir)
    path = work_dir / BEST_WEIGHTS
    if not path.is_file():
        raise InputError(f"{path}: no such file. {_TRAIN.format(work_dir)}")
    if file_sha256(path) not in hashes:
        raise InputError(
            f"{path}: its SHA-256 is not the one in {MODEL}; the file is damaged or of another "
            "run. Copy both files from where they were made, or train again."
        )
    model = spec.build()
    try:
        load_own_weights(model, path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: not weights of the {spec.backbone} that {MODEL} describes ({error}). "
            "Train again, or copy both files from one run."
        ) from error
    return model, spec


def _read_model_json(work_dir: Path) -> tuple[ModelSpec, tuple[str, ...]]:
    path = work_dir / MODEL
    try:
        content = json.loads(path.read_text("utf-8"))
        values = dict(content["spec"])
        for name in ("record_shape", "windows", "prior", "classes"):
            values[name] = tuple(values[name])
        hashes = (content["sha256"], content["previous_sha256"])
        return ModelSpec(**values), tuple(value for value in hashes if value)
    except FileNotFoundError as error:
        raise InputError(
            f"{work_dir}: holds no trained model (no {MODEL}). {_TRAIN.format(work_dir)}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: does not describe a model of this version of ich_tf ({error}). Train again."
        ) from error


class TrainingState:
    """The state of a run at the end of an epoch, in `checkpoints/`."""

    def __init__(
        self, work_dir: str | Path, model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer
    ) -> None:
        """Tracks a model and its built optimizer; call it under the strategy's scope."""
        self._epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._best_epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._best_loss = tf.Variable(math.inf, dtype=tf.float64, trainable=False)
        self._checkpoint = tf.train.Checkpoint(
            model=model,
            optimizer=optimizer,
            epoch=self._epoch,
            best_epoch=self._best_epoch,
            best_loss=self._best_loss,
        )
        # Two: while one is written, the other stands.
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(Path(work_dir) / CHECKPOINTS), max_to_keep=2
        )

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return int(self._epoch.numpy())

    @property
    def best_epoch(self) -> int:
        """Whose validation loss is the least, from 1; 0 at first."""
        return int(self._best_epoch.numpy())

    @property
    def best_loss(self) -> float:
        """The least validation loss so far; infinite at first."""
        return float(self._best_loss.numpy())

    def restore(self) -> bool:
        """Restores the last epoch's state.

        Returns:
          Whether there was one.

        Raises:
          InputError: If it is damaged or of another model.
        """
        path = self._manager.latest_checkpoint
        if path is None:
            return False
        try:
            self._checkpoint.restore(path).assert_consumed()
        # IndexError: how TensorFlow says that a file ends too soon.
        except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
            raise InputError(
                f"{path}: this checkpoint is damaged or of another model "
                f"({str(error).strip().splitlines()[0]}). Give --overwrite to start anew, or "
                "another --work_dir."
            ) from error
        return True

    def improves(self, val_loss: float) -> bool:
        """Whether a validation loss is the least so far."""
        return val_loss < self.best_loss

    def save(self, epoch: int, val_loss: float) -> None:
        """Writes the state after epoch number `epoch`, counted from 1."""
        if self.improves(val_loss):
            self._best_loss.assign(val_loss)
            self._best_epoch.assign(epoch)
        self._epoch.assign(epoch)
        self._manager.save(checkpoint_number=epoch)


def check_work_dir(work_dir: str | Path, config: TrainConfig) -> None:
    """Checks that a run with this config may continue what the folder holds.

    A folder without any finished epoch is free to use.

    Raises:
      InputError: If the folder holds a run with another config, naming what differs, or a
        model without the state to continue from.
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


def start_work_dir(work_dir: str | Path, config: TrainConfig, *, resumed: bool) -> None:
    """Makes the folder and writes `config.json`; unless resumed, deletes a former run first."""
    work_dir = Path(work_dir)
    if not resumed:
        # Checkpoints first: killed in between, what remains is not taken for a run to continue.
        shutil.rmtree(work_dir / CHECKPOINTS, ignore_errors=True)
        for name in (MODEL, BEST_WEIGHTS, HISTORY, CONFIG):
            (work_dir / name).unlink(missing_ok=True)
    work_dir.mkdir(parents=True, exist_ok=True)
    write_text(work_dir / CONFIG, config.to_json())


def can_resume(work_dir: str | Path) -> bool:
    """Whether the folder holds the state after some epoch."""
    return tf.train.latest_checkpoint(str(Path(work_dir) / CHECKPOINTS)) is not None
