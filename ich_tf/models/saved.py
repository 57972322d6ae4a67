"""Saved weights of a run, the best and those of kept epochs, with the spec of the model."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ich_tf.errors import InputError
from ich_tf.models import end_to_end
from ich_tf.models.end_to_end import EndToEndSpec
from ich_tf.models.own_backbones import check_allowed
from ich_tf.models.run_files import BEST_WEIGHTS, EPOCH_HASHES, EPOCHS, MODEL
from ich_tf.models.series_model import SeriesSpec
from ich_tf.models.spec import ModelSpec
from ich_tf.models.spec_limits import is_sha256
from ich_tf.models.weight_files import load_own, read_weight_file
from ich_tf.runtime.files import (
    MOST_MODEL_JSON_BYTES,
    file_sha256,
    parse_json,
    read_json,
    read_text,
    remove_temporaries_of,
    temporary_path,
    write_json,
)
from ich_tf.runtime.json_types import read_fields
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.names import shortened
from ich_tf.runtime.writing import check_space, writing

# Specs of all kinds of models.
Spec = ModelSpec | SeriesSpec | EndToEndSpec
# Size of what HDF5 adds to each array; measured: 1.4 to 2.4 KiB.
_HDF5_BYTES = 3 << 10
_COPY = "Copy it from where it was made, or train again."
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

    Killed at any moment, it leaves a pair of files that `load_best` reads: the old or the new one.

    Args:
      work_dir: Folder of the run, which is made if need be.
      model: Result of `spec.build()`, with the weights to save.
      spec: Spec of the model.
      epoch: Epoch of the weights, counted from 1.
      val_loss: Validation loss of the weights.
    """
    work_dir = Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    path = work_dir / BEST_WEIGHTS
    with _temporary(path) as temporary:
        _save_weights(model, temporary)
        content = {
            "spec": _json_of(spec),
            "sha256": file_sha256(temporary),
            # Two files cannot be replaced at once; in between, the old weights are still in place.
            "previous_sha256": file_sha256(path) if path.is_file() else None,
            "epoch": epoch,
            "val_loss": val_loss,
        }
        write_json(work_dir / MODEL, content)
        temporary.replace(path)


def save_epoch(work_dir: str | Path, model: keras.Model, epoch: int) -> None:
    """Writes the weights of an epoch into `epochs/`, and their SHA-256 beside them.

    Args:
      work_dir: Folder of the run.
      model: Model with the weights to save.
      epoch: Number of the epoch, counted from 1.
    """
    path = Path(work_dir) / EPOCHS / f"epoch-{epoch:03d}.weights.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path) as temporary:
        _save_weights(model, temporary)
        hashes = path.parent / EPOCH_HASHES
        former = read_json(hashes, "Delete it.", MOST_MODEL_JSON_BYTES) if hashes.is_file() else {}
        write_json(hashes, {**former, path.name: file_sha256(temporary)})
        temporary.replace(path)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A path for content that is not finished: no file, nor link, can be there already.

    It lies in a folder of its own, whose name nobody knows, since Keras chooses the format by the
    end of the file's name. What killed writers left beside it is removed.
    """
    remove_temporaries_of(path)
    folder = temporary_path(path)
    with writing(path):
        folder.mkdir(mode=0o700)
    try:
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _save_weights(model: keras.Model, path: Path) -> None:
    """Writes weights; what a full disk leaves of them is removed."""
    weights = model.weights
    num_bytes = sum(math.prod(weight.shape) * weight.dtype.size for weight in weights)
    # HDF5 1.14 ends the process with a segmentation fault where it can write no more.
    check_space(path, num_bytes + _HDF5_BYTES * (len(weights) + 16))
    try:
        with writing(path):
            model.save_weights(str(path))
    except InputError:
        path.unlink(missing_ok=True)
        raise


def epoch_weights(work_dir: str | Path) -> list[str]:
    """Lists the weights of the epochs that were kept, in order, as paths within the work dir."""
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
      work_dir: Folder of the run.
      weights: Path of the weights file within the folder.
      sha256: Expected SHA-256 of the file. Empty: the one that was noted beside it, in `model.json`
        for the best weights and in `epochs/` for those of an epoch.

    Returns:
      The model, under the current strategy's scope and dtype policy, its spec, and the SHA-256 of
      its weights.

    Raises:
      InputError: If the folder holds no model, or a file of it is damaged or of another run.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise InputError(f"{work_dir}: no such work dir. {_TRAIN.format(work_dir)}")
    spec, hashes = _read_model_json(work_dir)
    path = work_dir / weights
    if not path.is_file():
        raise InputError(f"{path}: no such file. {_TRAIN.format(work_dir)}")
    expected = {sha256} if sha256 else _noted_hashes(work_dir, weights, hashes)
    model = spec.build()
    try:
        file = read_weight_file(path, model)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no weights file ({error}). {_COPY}") from error
    if expected is not None and file.sha256 not in expected:
        raise InputError(
            f"{path}: its SHA-256 is not the one that was noted when it was made; the file is "
            f"damaged or of another run. {_COPY}"
        )
    try:
        load_own(model, file)
    except ValueError as error:
        raise InputError(
            f"{path}: not weights of the {spec.backbone} that {MODEL} describes ({error}). "
            "Train again, or copy both files from one run."
        ) from error
    return model, spec, file.sha256


def _noted_hashes(work_dir: Path, weights: str, best: tuple[str, ...]) -> set[str] | None:
    """SHA-256 that a run noted for one of its weights files; None if it noted none.

    Args:
      work_dir: Folder of the run.
      weights: Path of the file within the folder.
      best: Hashes that `model.json` holds, of the best weights.
    """
    if weights == BEST_WEIGHTS:
        return set(best)
    path = (work_dir / weights).parent / EPOCH_HASHES
    if not path.is_file():
        # Earlier versions noted none.
        return None
    noted = read_json(path, "Delete it.", MOST_MODEL_JSON_BYTES)
    name = Path(weights).name
    return {str(noted[name])} if isinstance(noted, dict) and name in noted else set()


def read_spec(work_dir: str | Path) -> Spec:
    """Reads the spec of the model in a folder.

    Raises:
      InputError: If the folder holds no model.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise InputError(f"{work_dir}: no such work dir. {_TRAIN.format(work_dir)}")
    return _read_model_json(work_dir)[0]


def _read_model_json(work_dir: Path) -> tuple[Spec, tuple[str, ...]]:
    path = work_dir / MODEL
    try:
        content = parse_json(read_text(path, MOST_MODEL_JSON_BYTES))
        hashes = (content["sha256"], content["previous_sha256"])
        spec = _spec(dict(content["spec"]))
        if not all(value is None or is_sha256(value) for value in hashes):
            raise ValueError("a hash of the weights that is none")
    except FileNotFoundError as error:
        raise InputError(
            f"{work_dir}: holds no trained model (no {MODEL}). {_TRAIN.format(work_dir)}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: does not describe a model of this version of ich_tf ({error}). Train again."
        ) from error
    check_allowed(getattr(spec, "network", spec).backbone, path)
    return spec, tuple(value for value in hashes if value)


def _json_of(spec: Spec) -> dict[str, Any]:
    """`dataclasses.asdict`, without what most models have no need to say."""
    values = dataclasses.asdict(spec)
    for part in (values, values.get("series", {})):
        if part.get("weakly_supervised") is False:
            del part["weakly_supervised"]
    return values


def _spec(values: dict[str, Any]) -> Spec:
    """Makes a spec from the result of `dataclasses.asdict`, read from JSON.

    Raises:
      TypeError, ValueError: If a field is unknown, missing, of another type, or out of range.
    """
    kind = values.get("kind")
    if kind == end_to_end.KIND:
        values["network"] = _read_fields(ModelSpec, values["network"])
        values["series"] = _read_fields(SeriesSpec, values["series"])
        return EndToEndSpec(**values)
    spec: Spec = _read_fields(SeriesSpec if kind == "series" else ModelSpec, values)
    return spec


def _read_fields(kind: Any, values: dict[str, Any]) -> Any:
    unknown = sorted(dict(values).keys() - {field.name for field in dataclasses.fields(kind)})
    if unknown:
        raise ValueError(f"{shortened(unknown[0], 60)} is unknown to this version")
    return read_fields(kind, values)
