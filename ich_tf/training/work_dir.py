"""The work dir of a run: whether a run may use it, and how it starts there.

    config.json          the run's config
    run.json             the data's hash; the patients that the weights were trained on, through all
                         that they started from (`models.origins`); versions, commit and hardware of
                         each start (`run_log`)
    model.json           the model's spec, and the SHA-256 of best.weights.h5 (`models.saved`)
    best.weights.h5      the weights of the epoch with the least validation loss
    history.csv          a row an epoch (`history`)
    training_curves.png  the same as a picture
    tensorboard/         the same for TensorBoard, and the loss between
    checkpoints/         the last three: model, optimizer, moving average, place in the data
    epochs/              with --keep_epochs the weights of each epoch, and their hashes
    ensemble.json        the epochs to average, if `calibrate` chose some (`inference.ensemble`)
    finished.json        of a fold of `--validation_fold=all` that is trained and predicted
    calibration.json     the postprocessing that was fitted to the weights (`inference.calibration`)

A model is always built in code, and only then are weights read into it: a Keras model file may run
code of whoever wrote it.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf

from ich_tf.errors import ConfigError, InputError
from ich_tf.inference.ensemble import RUN_ITSELF, refuse_other_model
from ich_tf.models.run_files import (
    BEST_WEIGHTS,
    CALIBRATION,
    CHECKPOINTS,
    CONFIG,
    CURVES,
    ENSEMBLE,
    EPOCHS,
    FINISHED,
    HISTORY,
    MODEL,
    RUN,
    TENSORBOARD,
)
from ich_tf.models.run_json import read_run
from ich_tf.runtime.files import write_text
from ich_tf.training.config import TrainConfig

_FOLDERS = (CHECKPOINTS, TENSORBOARD, EPOCHS)
# An ensemble without the run that it is of would be taken for one of other runs: it goes first.
_FILES = (ENSEMBLE, CALIBRATION, MODEL, BEST_WEIGHTS, HISTORY, CURVES, CONFIG, RUN, FINISHED)


def can_resume(work_dir: str | Path) -> bool:
    """Whether the folder holds a checkpoint."""
    folder = Path(work_dir) / CHECKPOINTS
    # Not `latest_checkpoint`, which takes the path for a pattern.
    listed = tf.train.get_checkpoint_state(str(folder))
    names = [Path(path).name for path in listed.all_model_checkpoint_paths] if listed else []
    return any((folder / f"{name}.index").is_file() for name in names)


def check_work_dir(
    work_dir: str | Path, config: TrainConfig, data: dict[str, Any] | None = None
) -> None:
    """Checks that a run with this config on these data may continue the run in the folder.

    A folder without a checkpoint and without a model is free to use.

    Args:
      work_dir: The folder.
      config: Config of the run.
      data: Fingerprint of the run's data, as from `Manifest.fingerprint`; None compares no data.

    Raises:
      InputError: If the folder holds a run with another config or on other data, naming what
        differs, or a model without the state to continue from.
    """
    work_dir = Path(work_dir)
    if work_dir.exists() and not work_dir.is_dir():
        raise InputError(f"{work_dir} is a file; --work_dir must be a folder.")
    resumable = can_resume(work_dir)
    refuse_other_model(work_dir, RUN_ITSELF)
    if config.overwrite or not (resumable or (work_dir / MODEL).exists()):
        return
    advice = "Give --overwrite to delete that run and start anew, or another --work_dir."
    if not resumable:
        raise InputError(
            f"{work_dir}: holds a trained model, but no checkpoint to continue from. {advice}"
        )
    former_config = read_config(work_dir, advice)
    differences = config.differences(former_config)
    if differences:
        longer = dataclasses.replace(config, extend=True).differences(former_config)
        if not config.extend and not longer:
            advice = f"Give --extend to continue it to {config.epochs} epochs. {advice}"
        raise InputError(
            f"{work_dir}: holds a run with another config ({'; '.join(differences)}). {advice}"
        )
    if data is None:
        return
    former_data = read_run(work_dir, advice)["data"]
    differences = [
        f"{name}: {data[name]!r} here, {former_data.get(name)!r} there"
        for name in data
        if data[name] != former_data.get(name)
    ]
    if differences:
        raise InputError(
            f"{work_dir}: holds a run on other data ({'; '.join(differences)}). {advice}"
        )


def read_config(work_dir: Path, advice: str = "") -> TrainConfig:
    """Reads the `config.json` of a run.

    Args:
      work_dir: Folder of the run.
      advice: Sentence to end an error message with.

    Raises:
      InputError: If it cannot be read.
    """
    try:
        return TrainConfig.from_json((work_dir / CONFIG).read_text("utf-8"))
    except (OSError, ConfigError) as error:
        raise InputError(
            f"{work_dir}: holds a run whose {CONFIG} cannot be read ({error}). {advice}".rstrip()
        ) from error


def delete_run(work_dir: str | Path) -> None:
    """Deletes the run in a folder, and no file that a run does not write."""
    work_dir = Path(work_dir)
    # Checkpoints first: if this is killed in between, the rest is not taken for a run to continue.
    for name in _FOLDERS:
        shutil.rmtree(work_dir / name, ignore_errors=True)
    for name in _FILES:
        (work_dir / name).unlink(missing_ok=True)


def start_work_dir(work_dir: str | Path, config: TrainConfig) -> None:
    """Makes the folder, removes unfinished checkpoints, and writes `config.json`."""
    work_dir = Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    # A run that is killed while it writes a checkpoint leaves a temporary folder.
    for unfinished in (work_dir / CHECKPOINTS).glob("*_temp"):
        shutil.rmtree(unfinished, ignore_errors=True)
    write_text(work_dir / CONFIG, config.to_json())
