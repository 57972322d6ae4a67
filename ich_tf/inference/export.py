"""Export: a model as a SavedModel or ONNX file that runs without ich_tf and predicts the same."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.inference import onnx_model, weights_export
from ich_tf.inference.config import ExportConfig
from ich_tf.inference.masks.image_masks import image_bits
from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.inference.serving_model import ServingModel
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.records.neighbours import neighbour_places
from ich_tf.runtime.files import file_sha256, temporary_path, write_json
from ich_tf.runtime.paths import plain_path
from ich_tf.runtime.precision import devices_of, set_tf32
from ich_tf.runtime.strategies import make_strategy
from ich_tf.runtime.writing import writing
from ich_tf.windows import apply_windows, preset_windows, store_hu

_LOG = logging.getLogger(__name__)
MANIFEST = "manifest.json"
ONNX = "model.onnx"
# Signatures of a SavedModel: the second, of a network that segments, adds the masks to the first.
PROBABILITIES, MASKS = "serving_default", "masks"
# Greatest difference of a probability between an exported model and prediction; of the pixels' on
# average, since Hounsfield units that a resize rounds otherwise move single pixels by more.
TOLERANCE = 1e-5
# Greatest share of the pixels whose masks differ: those that lie at their threshold.
MASK_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class _Format:
    """A format of exported models.

    Attributes:
      write: Writes a model into a folder.
      answers: Runs the model in a folder: Hounsfield units, and positions where it takes them, to
        outputs by name.
    """

    write: Callable[[ServingModel, Path], None]
    answers: Callable[[Path, np.ndarray, np.ndarray | None], dict[str, np.ndarray]]


def export(config: ExportConfig) -> Path:
    """Writes `<version>/` and `manifest.json`, and compares the written model with the original.

    Returns:
      The folder of the version.

    Raises:
      InputError: If there is no model, the version exists already, the model cannot be written in
        the format, or the written model predicts other probabilities or masks than the original.
      UsageError: If the packages for the format are not installed.
    """
    formats = ("saved_model", "onnx") if config.format == "both" else (config.format,)
    if "onnx" in formats:
        onnx_model.check_packages()
    folder = config.export_dir / str(config.version)
    if folder.exists() and not config.overwrite:
        raise InputError(
            f"{folder}: is there already. Give --overwrite to replace it, or another --version."
        )
    if config.format == weights_export.FORMAT:
        return weights_export.export_weights(config.work_dir, folder, config.version)
    strategy = make_strategy("one")
    # TF32 rounds factors by up to 0.0005, far more than TOLERANCE.
    set_tf32(False, devices_of(strategy))
    predictor = load_predictor(config.work_dir, strategy, calibrated=config.calibrated)
    module = ServingModel(predictor, config.prevalence)
    hu, z_mm = _example_series()
    expected = expected_answers(predictor, hu, z_mm, config.prevalence)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(folder)
    try:
        for name in formats:
            FORMATS[name].write(module, temporary)
            answers = FORMATS[name].answers(temporary, hu, z_mm if module.needs_series else None)
            _compare(answers, expected, name)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    write_json(folder.parent / MANIFEST, _manifest(config, module, predictor, folder, formats))
    _LOG.info("%s: predicts as the model of the work dir, to %g", folder, TOLERANCE)
    return folder


def _write_saved_model(module: ServingModel, folder: Path) -> None:
    signatures = {PROBABILITIES: module.function().get_concrete_function(*module.inputs)}
    if module.masks is not None:
        with_masks = module.function(masks=True)
        signatures[MASKS] = with_masks.get_concrete_function(*module.inputs)
    target = plain_path(folder.parent) / folder.name
    with writing(folder):
        tf.saved_model.save(module, str(target), signatures=signatures)


def _write_onnx(module: ServingModel, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    onnx_model.write_onnx(module, folder / ONNX)


def _manifest(
    config: ExportConfig,
    module: ServingModel,
    predictor: Predictor,
    folder: Path,
    formats: tuple[str, ...],
) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    outputs = {"probabilities": "float32 [n, 6], columns as classes"}
    if module.has_series_output:
        outputs["series"] = "float32 [6], of the series as a whole"
    signatures = {PROBABILITIES: list(outputs)}
    sizes = [each.spec.image_size for each in predictor.members if each.spec.segmentation]
    if sizes:
        outputs["masks"] = "uint8 [n, h, w], on the pixels of hu: bit k marks class k"
        outputs["mask_probabilities"] = (
            f"float32 [n, {max(sizes)}, {max(sizes)}, 6], of slices padded to a square and resized"
        )
        signatures[MASKS] = list(outputs)
    versions = {name: metadata.version(name) for name in ("tensorflow", "numpy")}
    if "onnx" in formats:
        versions |= onnx_model.package_versions()
    return {
        "version": config.version,
        "formats": list(formats),
        "model_sha256": predictor.sha256,
        "classes": list(CLASSES),
        "inputs": _inputs(module.needs_series),
        "outputs": outputs,
        # An ONNX file has none, and gives all outputs.
        "signatures": signatures if "saved_model" in formats else {},
        "crop": predictor.crop,
        "windows": list(predictor.windows),
        "image_size": predictor.record_shape[0],
        "neighbours": predictor.neighbours,
        "postprocessing": predictor.postprocessing.describe(),
        "prevalence": config.prevalence or None,
        "thresholds": predictor.postprocessing.thresholds,
        "mask_thresholds": [] if module.masks is None else module.masks.thresholds.tolist(),
        "versions": versions,
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


def _example_series() -> tuple[np.ndarray, np.ndarray]:
    """Four synthetic slices, float32 [4, 512, 512], and where they lie, mm, float32 [4]."""
    rng = np.random.default_rng(0)
    side = 512
    hu = rng.integers(-100, 200, (4, side, side)).astype(np.float32)
    # Noise within a disc of another radius in each slice, surrounded by air.
    rows, columns = np.indices((side, side)) - side / 2
    for number, slice_ in enumerate(hu):
        slice_[np.hypot(rows, columns) > 120 + 20 * number] = -1000
    return hu, np.array([10, 0, 5, 20], np.float32)


def _compare(
    answers: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], format_name: str
) -> None:
    """Compares outputs of a written model with those of the original.

    Raises:
      InputError: If a probability differs by more than `TOLERANCE`, or masks by more than
        `MASK_TOLERANCE`.
    """
    for name, values in expected.items():
        limit, what = TOLERANCE, "a probability"
        if name == "masks":
            limit, what = MASK_TOLERANCE, "the masks (share of the pixels)"
            difference = (answers[name] != values).mean()
        elif name == "mask_probabilities":
            what = "the probability of a pixel (mean)"
            difference = np.abs(answers[name] - values).mean()
        else:
            difference = np.abs(answers[name] - values).max()
        if not difference <= limit:
            raise InputError(
                f"the model exported as {format_name} differs from the one in the work dir by "
                f"{difference:.2g} in {what}; expected {limit:g} at most. Please report it with "
                "config.json."
            )


def answers_of(
    folder: str | Path, hu: np.ndarray, z_mm: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Runs the signatures of a SavedModel, by TensorFlow alone.

    Args:
      folder: Folder of an exported version.
      hu: Hounsfield units of n slices, float32 [n, h, w].
      z_mm: Positions along the normal of the series, mm, float32 [n]; None for a model that does
        not take them.

    Returns:
      The outputs named in `manifest.json`: `probabilities`, float32 [n, 6]; from a series model
      `series`, float32 [6]; and from a network that segments `masks`, uint8 [n, h, w], and
      `mask_probabilities`, float32 [n, S, S, 6].
    """
    inputs = {"hu": tf.constant(hu)}
    if z_mm is not None:
        inputs["z_mm"] = tf.constant(z_mm)
    folder = Path(folder)
    loaded = tf.saved_model.load(str(plain_path(folder.parent) / folder.name))
    outputs: dict[str, tf.Tensor] = {}
    # What both give is that of the default.
    for name in (MASKS, PROBABILITIES):
        if name in loaded.signatures:
            outputs |= loaded.signatures[name](**inputs)
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
      Outputs by name as of `answers_of`.
    """
    order = np.argsort(z_mm, kind="stable")
    back = np.argsort(order)
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
    answers = {"probabilities": np.asarray(slices[back])}
    if whole is not None:
        answers["series"] = whole
    network = MaskNetwork.of(predictor)
    if network is not None:
        maps = network.probabilities(images)[back]
        answers["mask_probabilities"] = maps
        answers["masks"] = np.stack(
            [image_bits(values, network.thresholds, (), *hu.shape[1:]) for values in maps]
        )
    return answers


FORMATS = {
    "saved_model": _Format(_write_saved_model, answers_of),
    "onnx": _Format(
        _write_onnx, lambda folder, hu, z_mm: onnx_model.onnx_answers(folder / ONNX, hu, z_mm)
    ),
}
