"""A model as a SavedModel that needs no ich_tf: Hounsfield units in, calibrated probabilities out.

Resizing, windows, neighbours, mirror images, the mean of several models, smoothing, calibration:
all of it is in the graph, in float64 where `predict` computes in float64.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.inference.config import ExportConfig
from ich_tf.inference.postprocessing.calibrators import Calibrator
from ich_tf.inference.series_predictor import SeriesPredictor, load_predictor
from ich_tf.inference.slice_predictor import LoadedMember, Predictor
from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics import EPSILON
from ich_tf.models.slice_model import with_features
from ich_tf.records.neighbours import neighbour_places, neighbour_places_graph
from ich_tf.runtime.files import file_sha256, temporary_path, write_json
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import make_strategy
from ich_tf.windows import (
    HU_RANGE,
    STEPS_PER_HU,
    TIE_NUDGE,
    apply_windows,
    preset_windows,
    store_hu,
    window_table,
)

_LOG = logging.getLogger(__name__)
MANIFEST = "manifest.json"
# What an export may differ from `predict` by.
TOLERANCE = 1e-5


def export(config: ExportConfig) -> Path:
    """Writes `<version>/` and `manifest.json`, and compares what was written with the model.

    Returns:
      The version's folder.

    Raises:
      InputError: If there is no model, the version is there already, or what was written does not
        say what the model says.
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
    tf.saved_model.save(module, str(temporary), signatures={"serving_default": module.signature()})
    _compare(temporary, predictor, config.prevalence, module.needs_series)
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = {
        "version": config.version,
        "model_sha256": predictor.sha256,
        "classes": list(CLASSES),
        "inputs": _inputs(module.needs_series),
        "outputs": {
            "probabilities": "float32 [n, 6], columns as classes",
            **({"series": "float32 [6], of the series as a whole"} if module.says_whole else {}),
        },
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
    write_json(folder.parent / MANIFEST, content)
    _LOG.info("%s: says what the model says, to %g", folder, TOLERANCE)
    return folder


class ServingModel(tf.Module):  # type: ignore[misc]
    """A predictor as one graph.

    Attributes:
      needs_series: Whether a call takes one whole series, with places, and not any slices.
      says_whole: Whether it says something of the series itself, too.
    """

    def __init__(self, predictor: Predictor, prevalence: float = 0.0) -> None:
        """Takes over a predictor's variables.

        Args:
          predictor: The models and what follows them.
          prevalence: As of `Postprocessing.probabilities`.
        """
        super().__init__(name="ich_tf")
        self._predictor = predictor
        self._after = predictor.postprocessing
        self._prevalence = prevalence
        self.needs_series = (
            predictor.neighbours > 1
            or self._after.smoothing_mm > 0
            or isinstance(predictor, SeriesPredictor)
        )
        self.says_whole = isinstance(predictor, SeriesPredictor) and not prevalence
        # Variables alone: Keras would describe its layers, which no reader of the graph needs.
        self._variables = [list(one.model.variables) for one in predictor.members]
        self._networks: list[keras.Model] = []
        if isinstance(predictor, SeriesPredictor):
            self._variables += [list(one.model.variables) for one in predictor.models]
            self._networks = [with_features(one.model) for one in predictor.members]

    def signature(self) -> Any:
        """The function to serve."""
        hu = tf.TensorSpec([None, None, None], tf.float32, name="hu")
        if self.needs_series:
            z_mm = tf.TensorSpec([None], tf.float32, name="z_mm")
            return tf.function(self._series).get_concrete_function(hu, z_mm)
        return tf.function(self._slices).get_concrete_function(hu)

    def _slices(self, hu: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = self._logits(self._images(hu))
        return {"probabilities": tf.cast(self._finish(logits), tf.float32)}

    def _series(self, hu: tf.Tensor, z_mm: tf.Tensor) -> dict[str, tf.Tensor]:
        order = tf.argsort(z_mm, stable=True)
        hu, z_mm = tf.gather(hu, order), tf.gather(tf.cast(z_mm, tf.float64), order)
        images = self._images(hu)
        count = self._predictor.neighbours
        places = neighbour_places_graph(tf.shape(images)[0], count)
        images = tf.concat([tf.gather(images, places[:, i]) for i in range(count)], axis=-1)
        answers = {}
        if isinstance(self._predictor, SeriesPredictor):
            rows = self._series_logits(self._predictor, images, tf.cast(z_mm, tf.float32))
            logits = rows[1:]
            if self.says_whole:
                whole = _calibrated(self._after.series_calibrator, rows[:1])[0]
                answers["series"] = tf.cast(whole, tf.float32)
        else:
            logits = self._logits(images)
        width = self._after.smoothing_mm
        if width:
            weight = tf.exp(-0.5 * ((z_mm[:, None] - z_mm) / width) ** 2)
            weight = weight / tf.reduce_sum(weight, 1, keepdims=True)
            logits = _logit(tf.linalg.matmul(weight, tf.sigmoid(logits)))
        found = tf.gather(self._finish(logits), tf.argsort(order))
        return {"probabilities": tf.cast(found, tf.float32), **answers}

    def _images(self, hu: tf.Tensor) -> tf.Tensor:
        """Hounsfield units [n, h, w] -> what one slice of a record holds, float32 [n, H, W, C]."""
        size = self._predictor.record_shape[0]
        clipped = tf.clip_by_value(tf.cast(hu, tf.float64), *HU_RANGE)
        steps = (_resized(clipped, size) - HU_RANGE[0]) * STEPS_PER_HU
        stored = tf.cast(tf.math.rint(steps + TIE_NUDGE), tf.int32)
        if self._predictor.stored_hu:
            return tf.cast(stored[..., None], tf.float32)
        table = window_table(preset_windows(self._predictor.windows)).T.astype(np.float32)
        return tf.gather(tf.constant(table), stored)

    def _logits(self, images: tf.Tensor) -> tf.Tensor:
        """float64 [n, 6]."""
        each = [self._member(one, images) for one in self._predictor.members]
        if len(each) == 1:
            return each[0]
        shares = self._predictor.shares.tolist()
        parts = [share * tf.sigmoid(one) for share, one in zip(shares, each, strict=True)]
        return _logit(tf.add_n(parts))

    def _member(self, member: LoadedMember, images: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._answer(member.model, member.sees(images)), tf.float64)

    def _answer(self, model: keras.Model, images: tf.Tensor) -> tf.Tensor:
        """Of a slice, or the mean with its mirror image."""
        found = model(images, training=False)
        if self._after.flip:
            found = (found + model(images[:, :, ::-1], training=False)) / 2
        return found

    def _series_logits(
        self, predictor: SeriesPredictor, images: tf.Tensor, z_mm: tf.Tensor
    ) -> tf.Tensor:
        """`SeriesPredictor.series_logits` of its `outputs`, whole first, float64 [1 + n, 6]."""
        probabilities, shares = [], []
        place = (z_mm - z_mm[0])[:, None]
        for number, (member, network, axes) in enumerate(
            zip(predictor.members, self._networks, predictor.axes, strict=True)
        ):
            answer = self._answer(network, member.sees(images))
            features = answer[:, len(CLASSES) :]
            if axes is not None:
                centred = tf.cast(features, tf.float64) - axes.mean
                features = tf.cast(tf.linalg.matmul(centred, axes.weights), tf.float32)
            own = tf.concat([features, answer[:, : len(CLASSES)]], axis=1)
            there = tf.concat([own, place, tf.ones_like(place)], axis=1)
            turned = tf.concat([own, place[-1] - place, tf.ones_like(place)], axis=1)[::-1]
            for model, share in zip(predictor.models, predictor.model_shares, strict=True):
                if number not in model.reads:
                    continue
                logits = model.model(there[None], training=False)[0]
                if model.spec.reverse:
                    back = model.model(turned[None], training=False)[0]
                    back = tf.concat([back[:1], back[:0:-1]], axis=0)
                    logits = (logits + back) / 2
                probabilities.append(tf.sigmoid(tf.cast(logits, tf.float64)))
                shares.append(share / len(model.reads))
        mixed = [share * one for share, one in zip(shares, probabilities, strict=True)]
        return _logit(tf.add_n(mixed))

    def _finish(self, logits: tf.Tensor) -> tf.Tensor:
        """Smoothed logits -> probabilities, float64 [n, 6]."""
        found = _calibrated(self._after.calibrator, logits)
        if not self._prevalence:
            return found
        before, after = self._after.prevalence, self._prevalence
        factor = after / (1 - after) * (1 - before) / before
        bleed = tf.maximum(found, found[:, ANY : ANY + 1])
        return factor * found / (1 + (factor - 1) * bleed)


def _logit(probabilities: tf.Tensor) -> tf.Tensor:
    """`metrics.logit`."""
    clipped = tf.clip_by_value(probabilities, EPSILON, 1 - EPSILON)
    return tf.math.log(clipped) - tf.math.log1p(-clipped)


def _resized(hu: tf.Tensor, size: int) -> tf.Tensor:
    """`windows.resize_hu` of float64 [n, h, w], whatever h and w are."""
    height, width = tf.shape(hu)[1], tf.shape(hu)[2]
    side = tf.maximum(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    padding = [[0, 0], [top, side - height - top], [left, side - width - left]]
    square = tf.pad(hu, padding, constant_values=tf.constant(HU_RANGE[0], tf.float64))
    weight = tf.cond(
        side > size, lambda: _area_weights(side, size), lambda: _linear_weights(side, size)
    )
    return tf.einsum("ih,nhw,jw->nij", weight, square, weight)


def _area_weights(side: tf.Tensor, size: int) -> tf.Tensor:
    """How much of each output pixel each input pixel covers, [size, side]."""
    scale = tf.cast(side, tf.float64) / size
    first = tf.range(size, dtype=tf.float64)[:, None] * scale
    pixel = tf.cast(tf.range(side), tf.float64)
    covered = tf.minimum(pixel + 1, first + scale) - tf.maximum(pixel, first)
    return tf.maximum(covered, 0) / scale


def _linear_weights(side: tf.Tensor, size: int) -> tf.Tensor:
    """Bilinear between pixel centres, the edge pixels going on; [size, side]."""
    scale = tf.cast(side, tf.float64) / size
    at = (tf.range(size, dtype=tf.float64) + 0.5) * scale - 0.5
    at = tf.clip_by_value(at, 0, tf.cast(side - 1, tf.float64))
    pixel = tf.cast(tf.range(side), tf.float64)
    return tf.maximum(1 - tf.abs(at[:, None] - pixel), 0)


def _calibrated(calibrator: Calibrator, logits: tf.Tensor) -> tf.Tensor:
    """`Calibrator.__call__` of float64 [n, 6]."""
    found = tf.sigmoid(logits * calibrator.scale + calibrator.offset)
    if not any(at for at, _ in calibrator.knots):
        return found
    columns = tf.unstack(found, axis=1)
    for i, (at, value) in enumerate(calibrator.knots):
        if at:
            columns[i] = _interpolated(logits[:, i], at, value)
    return tf.stack(columns, axis=1)


def _interpolated(x: tf.Tensor, at: Sequence[float], value: Sequence[float]) -> tf.Tensor:
    """`np.interp`."""
    if len(at) == 1:
        return tf.fill(tf.shape(x), tf.constant(value[0], tf.float64))
    knots, values = tf.constant(at, tf.float64), tf.constant(value, tf.float64)
    right = tf.clip_by_value(tf.searchsorted(knots, x, side="right"), 1, len(at) - 1)
    low, high = tf.gather(knots, right - 1), tf.gather(knots, right)
    share = tf.clip_by_value((x - low) / (high - low), 0, 1)
    return (1 - share) * tf.gather(values, right - 1) + share * tf.gather(values, right)


def _inputs(needs_series: bool) -> dict[str, str]:
    hu = "float32 [n, h, w], Hounsfield units of axial slices"
    if not needs_series:
        return {"hu": f"{hu}, any number of them"}
    return {
        "hu": f"{hu}: all of one series",
        "z_mm": "float32 [n], where each slice lies along the series' normal, mm",
    }


def _compare(folder: Path, predictor: Predictor, prevalence: float, needs_series: bool) -> None:
    """Runs what was written on made-up slices beside the model itself.

    Raises:
      InputError: If they differ.
    """
    rng = np.random.default_rng(0)
    side = 512
    hu = rng.integers(-100, 200, (4, side, side)).astype(np.float32)
    # A bright disc of another size in each, in air.
    rows, columns = np.indices((side, side)) - side / 2
    for number, one in enumerate(hu):
        one[np.hypot(rows, columns) > 120 + 20 * number] = -1000
    z_mm = np.array([10, 0, 5, 20], np.float32)
    found = answers_of(folder, hu, z_mm if needs_series else None)
    expected = expected_answers(predictor, hu, z_mm, prevalence)
    difference = max(float(np.abs(found[name] - one).max()) for name, one in expected.items())
    if not difference <= TOLERANCE:
        shutil.rmtree(folder)
        raise InputError(
            f"the exported model differs from the one in the work dir by {difference:.2g} in a "
            f"probability; expected {TOLERANCE:g} at most. Please report it with config.json."
        )


def answers_of(
    folder: str | Path, hu: np.ndarray, z_mm: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Runs a SavedModel's `serving_default`, as anyone would, without this package.

    Args:
      folder: Of a version.
      hu: float32 [n, h, w].
      z_mm: float32 [n], if it asks for it.

    Returns:
      By name as in `manifest.json`: `probabilities`, float32 [n, 6], and of a series model
      `series`, float32 [6].
    """
    inputs = {"hu": tf.constant(hu)}
    if z_mm is not None:
        inputs["z_mm"] = tf.constant(z_mm)
    loaded = tf.saved_model.load(str(folder))
    found = loaded.signatures["serving_default"](**inputs)
    return {name: one.numpy() for name, one in found.items()}


def expected_answers(
    predictor: Predictor, hu: np.ndarray, z_mm: np.ndarray, prevalence: float
) -> dict[str, np.ndarray]:
    """What `predict` says of one series, by name as `answers_of`, float64.

    Args:
      predictor: The model.
      hu: float32 [n, h, w].
      z_mm: float32 [n].
      prevalence: As of `Postprocessing.probabilities`.
    """
    order = np.argsort(z_mm, kind="stable")
    stored = [store_hu(one, predictor.record_shape[0]) for one in hu[order]]
    if predictor.stored_hu:
        images = np.stack(stored)[..., None]
    else:
        windows = preset_windows(predictor.windows)
        images = np.stack([apply_windows(one, windows) for one in stored])
    places = neighbour_places(len(hu), predictor.neighbours)
    images = np.concatenate([images[column] for column in places.T], axis=-1)
    outputs = predictor.outputs(images)
    slices, whole = predictor.series_probabilities(outputs, z_mm[order], prevalence)
    answers = {"probabilities": np.asarray(slices[np.argsort(order)])}
    return answers if whole is None else {**answers, "series": whole}
