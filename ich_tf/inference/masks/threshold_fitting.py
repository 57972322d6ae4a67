"""Thresholds of masks: of each class the one at which volumes are right on average.

They are chosen on validation series that have a bleed of the class, and on those of their slices in
which the class is annotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ich_tf.inference.masks.mask_network import DEFAULT_THRESHOLD, MaskNetwork
from ich_tf.labels import ANY, CLASSES
from ich_tf.masks.bits import unpack
from ich_tf.metrics import choose_mask_threshold
from ich_tf.metrics.extents import slice_extents_mm
from ich_tf.records.input_pipeline import eval_batches, read_batches
from ich_tf.records.manifest import Manifest, damage_named

_THRESHOLDS = np.arange(5, 96) / 100
# With fewer series the threshold stays what it was.
_LEAST_SERIES = 5
_MM3_PER_ML = 1000.0


@dataclass(frozen=True, eq=False)
class ClassVolumes:
    """Volumes of one class in n series with a bleed of it, ml.

    Attributes:
      predicted: Volume at each threshold, float64 [n, t].
      true: Volume of the masks, float64 [n].
    """

    predicted: np.ndarray
    true: np.ndarray


@dataclass
class _Series:
    """What is collected of a series, a row a slice."""

    z_mm: list[float] = field(default_factory=list)
    predicted: list[np.ndarray] = field(default_factory=list)  # share of the image, [6, t]
    marked: list[np.ndarray] = field(default_factory=list)  # share of the image, [6]
    annotated: list[int] = field(default_factory=list)
    lesion_mm2: list[np.ndarray] = field(default_factory=list)


def split_volumes(
    masks: MaskNetwork, manifest: Manifest, split: str, batch_size: int, neighbours: int
) -> list[ClassVolumes]:
    """Measures the series of a split at all thresholds.

    Args:
      masks: Networks that give masks.
      manifest: Manifest of the data.
      split: Name of the split.
      batch_size: Slices in a step.
      neighbours: Number of slices that the networks see at once.

    Returns:
      For each class the volumes of the series that have a bleed of it.

    Raises:
      DataError: If a record cannot be read.
    """
    shards = manifest.split_shards(split)
    batches = eval_batches(
        shards,
        manifest.image_shape,
        batch_size=batch_size,
        encoding=manifest.encoding,
        neighbours=neighbours,
        masks=True,
    )
    found: dict[bytes, _Series] = {}
    with damage_named(shards):
        for batch in read_batches(batches):
            probabilities = masks.probabilities(batch["image"])
            rows = {name: batch[name].numpy() for name in _FIELDS}
            for i in np.flatnonzero(rows["mask"]):
                series = found.setdefault(rows["series_key"][i], _Series())
                series.z_mm.append(float(rows["z_mm"][i]))
                series.predicted.append(_shares(probabilities[i]))
                series.marked.append(unpack(rows["mask_bits"][i]).mean(axis=(1, 2)))
                series.annotated.append(int(rows["annotated"][i]))
                series.lesion_mm2.append(rows["lesion_mm2"][i])
    of_series = [_volumes(series) for series in found.values()]
    volumes = []
    for k in range(len(CLASSES)):
        known = [(predicted[k], true[k]) for predicted, true in of_series if true[k] > 0]
        volumes.append(
            ClassVolumes(
                np.array([row for row, _ in known]).reshape(-1, len(_THRESHOLDS)),
                np.array([value for _, value in known]),
            )
        )
    return volumes


_FIELDS = ("mask", "series_key", "z_mm", "mask_bits", "annotated", "lesion_mm2")


def fit_thresholds(
    volumes: Sequence[Sequence[ClassVolumes]],
) -> tuple[tuple[float, ...], dict[str, Any]]:
    """Chooses the threshold of least volume bias for each class.

    Args:
      volumes: Results of `split_volumes`, of one or several networks.

    Returns:
      Threshold of each class; and by class the number of series and the bias in ml before, at 0.5,
      and after.
    """
    thresholds, told = [], {}
    middle = int(np.argmin(np.abs(_THRESHOLDS - DEFAULT_THRESHOLD)))
    for name, parts in zip(CLASSES, zip(*volumes, strict=True), strict=True):
        predicted = np.concatenate([part.predicted for part in parts])
        true = np.concatenate([part.true for part in parts])
        chosen = middle
        if len(true) >= _LEAST_SERIES:
            threshold = choose_mask_threshold(_THRESHOLDS, predicted, true)
            chosen = int(np.argmin(np.abs(_THRESHOLDS - threshold)))
        thresholds.append(float(_THRESHOLDS[chosen]))
        if len(true):
            bias = (predicted - true[:, None]).mean(axis=0)
            told[name] = {
                "num_series": len(true),
                "mean_ml": float(true.mean()),
                "bias_ml_before": float(bias[middle]),
                "bias_ml_after": float(bias[chosen]),
            }
    return tuple(thresholds), told


def _shares(probabilities: np.ndarray) -> np.ndarray:
    """Share of the pixels at or above each threshold, [S, S, 6] -> float64 [6, t]."""
    values = np.sort(probabilities.reshape(-1, len(CLASSES)), axis=0)
    below = [np.searchsorted(column, _THRESHOLDS.astype(np.float32)) for column in values.T]
    return 1 - np.array(below) / len(values)


def _volumes(series: _Series) -> tuple[np.ndarray, np.ndarray]:
    """Predicted volumes [6, t] and true ones [6], ml, in the slices where a class is annotated."""
    order = np.argsort(series.z_mm, kind="stable")
    extents = slice_extents_mm(np.array(series.z_mm)[order])
    marked = np.array(series.marked)[order]
    areas = np.nan_to_num(np.array(series.lesion_mm2, np.float64)[order])
    seen = (areas[:, ANY] > 0) & (marked[:, ANY] > 0)
    if not seen.any() or np.isnan(extents).any():
        return np.zeros((len(CLASSES), len(_THRESHOLDS))), np.zeros(len(CLASSES))
    # Records do not say how large an image was. Areas and masks do, of the same slices.
    image_ml_per_mm = areas[seen, ANY].sum() / marked[seen, ANY].sum() / _MM3_PER_ML
    annotated = np.array(series.annotated)[order]
    known = (annotated[:, None] >> np.arange(len(CLASSES)) & 1) * extents[:, None]  # [n, 6]
    predicted = np.einsum("nk,nkt->kt", known, np.array(series.predicted)[order])
    return predicted * image_ml_per_mm, (known * marked).sum(axis=0) * image_ml_per_mm
