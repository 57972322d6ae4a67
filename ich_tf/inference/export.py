"""Export: a model as a SavedModel that runs without ich_tf, and is compared with the original."""

from __future__ import annotations

import logging
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.inference.config import ExportConfig
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.inference.serving_model import ServingModel
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.records.neighbours import neighbour_places
from ich_tf.runtime.files import file_sha256, temporary_path, write_json
from ich_tf.runtime.paths import plain_path
from ich_tf.runtime.strategies import make_strategy
from ich_tf.runtime.writing import writing
from ich_tf.windows import apply_windows, preset_windows, store_hu

_LOG = logging.getLogger(__name__)
MANIFEST = "manifest.json"
# Greatest difference of a probability between an exported model and prediction.
TOLERANCE = 1e-5


def export(config: ExportConfig) -> Path:
    """Writes `<version>/` and `manifest.json`, and compares the written model with the original.

    Returns:
      The folder of the version.

    Raises:
      InputError: If there is no model, the version exists already, or the written model predicts
        other probabilities than the original.
    """
    folder = config.export_dir / str(config.version)
    if folder.exists() and not config.overwrite:
        raise InputError(
            f"{folder}: is there already. Give --overwrite to replace it, or another --version."
        )
    predictor = load_predictor(config.work_dir, make_strategy("one"), calibrated=config.calibrated)
    module = ServingModel(predictor, config.prevalence)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(folder)
    target = plain_path(temporary.parent) / temporary.name
    signatures = {"serving_default": module.signature()}
    try:
        with writing(folder):
            tf.saved_model.save(module, str(target), signatures=signatures)
        _compare(temporary, predictor, config.prevalence, module.needs_series)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    write_json(folder.parent / MANIFEST, _manifest(config, module, predictor, folder))
    _LOG.info("%s: predicts as the model of the work dir, to %g", folder, TOLERANCE)
    return folder


def _manifest(
    config: ExportConfig, module: ServingModel, predictor: Predictor, folder: Path
) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    outputs = {"probabilities": "float32 [n, 6], columns as classes"}
    if module.has_series_output:
        outputs["series"] = "float32 [6], of the series as a whole"
    return {
        "version": config.version,
        "model_sha256": predictor.sha256,
        "classes": list(CLASSES),
        "inputs": _inputs(module.needs_series),
        "outputs": outputs,
        "crop": predictor.crop,
        "windows": list(predictor.windows),
        "image_size": predictor.record_shape[0],
        "neighbours": predictor.neighbours,
        "postprocessing": predictor.postprocessing.describe(),
        "prevalence": config.prevalence or None,
        "thresholds": predictor.postprocessing.thresholds,
        "versions": {name: metadata.version(name) for name in ("tensorflow", "numpy")},
        "note": "Research only. Not for clinical use.",
        "sha256": {path.relative_to(folder.parent).as_posix(): file_sha256(path) for path in files},
    }


def _inputs(needs_series: bool) -> dict[str, str]:
    hu = "float32 [n, h, w], Hounsfield units of axial slices"
    if not needs_series:
        return {"hu": f"{hu}, any number of them"}
    return {
        "hu": f"{hu}: all of one series",
        "z_mm": "float32 [n], where each slice lies along the series' normal, mm",
    }


def _compare(folder: Path, predictor: Predictor, prevalence: float, needs_series: bool) -> None:
    """Runs the written model and the original on four synthetic slices.

    Raises:
      InputError: If a probability differs by more than `TOLERANCE`; the folder is deleted.
    """
    rng = np.random.default_rng(0)
    side = 512
    hu = rng.integers(-100, 200, (4, side, side)).astype(np.float32)
    # Noise within a disc of another radius in each slice, surrounded by air.
    rows, columns = np.indices((side, side)) - side / 2
    for number, slice_ in enumerate(hu):
        slice_[np.hypot(rows, columns) > 120 + 20 * number] = -1000
    z_mm = np.array([10, 0, 5, 20], np.float32)
    exported = answers_of(folder, hu, z_mm if needs_series else None)
    expected = expected_answers(predictor, hu, z_mm, prevalence)
    difference = max(
        float(np.abs(exported[name] - values).max()) for name, values in expected.items()
    )
    if not difference <= TOLERANCE:
        shutil.rmtree(folder)
        raise InputError(
            f"the exported model differs from the one in the work dir by {difference:.2g} in a "
            f"probability; expected {TOLERANCE:g} at most. Please report it with config.json."
        )


def answers_of(
    folder: str | Path, hu: np.ndarray, z_mm: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Runs the `serving_default` signature of a SavedModel, by TensorFlow alone.

    Args:
      folder: Folder of an exported version.
      hu: Hounsfield units of n slices, float32 [n, h, w].
      z_mm: Positions along the normal of the series, mm, float32 [n]; None for a model that does
        not take them.

    Returns:
      The outputs named in `manifest.json`: `probabilities`, float32 [n, 6], and from a series
      model `series`, float32 [6].
    """
    inputs = {"hu": tf.constant(hu)}
    if z_mm is not None:
        inputs["z_mm"] = tf.constant(z_mm)
    folder = Path(folder)
    loaded = tf.saved_model.load(str(plain_path(folder.parent) / folder.name))
    outputs = loaded.signatures["serving_default"](**inputs)
    return {name: values.numpy() for name, values in outputs.items()}


def expected_answers(
    predictor: Predictor, hu: np.ndarray, z_mm: np.ndarray, prevalence: float
) -> dict[str, np.ndarray]:
    """Computes with NumPy and the predictor what an exported model has to return.

    Args:
      predictor: The exported model.
      hu: Hounsfield units of one series, float32 [n, h, w], in any order.
      z_mm: Positions along the normal of the series, mm, float32 [n].
      prevalence: Share of slices with a bleed that the probabilities are to hold for, in (0, 1);
        0 keeps that of the validation patients.

    Returns:
      Outputs by name as of `answers_of`, float64.
    """
    order = np.argsort(z_mm, kind="stable")
    stored = [store_hu(slice_, predictor.record_shape[0]) for slice_ in hu[order]]
    if predictor.stored_hu:
        images = np.stack(stored)[..., None]
    else:
        windows = preset_windows(predictor.windows)
        images = np.stack([apply_windows(slice_, windows) for slice_ in stored])
    places = neighbour_places(len(hu), predictor.neighbours)
    images = np.concatenate([images[column] for column in places.T], axis=-1)
    outputs = predictor.outputs(images)
    slices, whole = predictor.series_probabilities(outputs, z_mm[order], prevalence)
    answers = {"probabilities": np.asarray(slices[np.argsort(order)])}
    return answers if whole is None else {**answers, "series": whole}
