"""Volumes of the series of a split at many thresholds, beside those of their masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.labels import ANY, CLASSES
from ich_tf.masks.bits import unpack
from ich_tf.metrics.extents import slice_extents_mm
from ich_tf.records.input_pipeline import eval_batches, read_batches
from ich_tf.records.manifest import Manifest, damage_named

THRESHOLDS = np.arange(5, 96) / 100
_FIELDS = (
    "mask", "patient_key", "series_key", "z_mm", "spacing_mm", "mask_bits", "annotated",
    "lesion_mm2",
)  # fmt: skip
_MM3_PER_ML = 1000.0


@dataclass(frozen=True, eq=False)
class ClassVolumes:
    """Volumes of one class in n series, ml, of the slices in which the class is annotated.

    Attributes:
      predicted: Volume at each of `THRESHOLDS`, float64 [n, t].
      true: Volume of the masks, float64 [n].
      is_whole: Whether the class is annotated in all slices of the series, bool [n].
      patients: Key of the patient of each series, [n].
    """

    predicted: np.ndarray
    true: np.ndarray
    is_whole: np.ndarray
    patients: np.ndarray

    @classmethod
    def concatenate(cls, parts: Sequence[ClassVolumes]) -> ClassVolumes:
        """Joins volumes of one class, of several splits or networks."""
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("predicted", "true", "is_whole", "patients")
            )
        )

    def select(self, rows: np.ndarray) -> ClassVolumes:
        """The series of a mask, bool [n], or of indices."""
        return ClassVolumes(
            self.predicted[rows], self.true[rows], self.is_whole[rows], self.patients[rows]
        )


@dataclass
class _Series:
    """What is collected of a series, a row a slice."""

    patient: str
    z_mm: list[float] = field(default_factory=list)
    pixel_mm2: list[float] = field(default_factory=list)
    predicted: list[np.ndarray] = field(default_factory=list)  # share of the image, [6, t]
    marked: list[np.ndarray] = field(default_factory=list)  # share of the image, [6]
    annotated: list[int] = field(default_factory=list)
    lesion_mm2: list[np.ndarray] = field(default_factory=list)

    def image_pixels(self) -> float:
        """Pixels that images had before they were resized; NaN for a series without a bleed.

        Records do not say it. Areas and masks do, of the same slices.
        """
        areas = np.nan_to_num(np.array(self.lesion_mm2, np.float64))[:, ANY]
        marked = np.array(self.marked)[:, ANY]
        seen = (areas > 0) & (marked > 0)
        if not seen.any():
            return float("nan")
        return float(areas[seen].sum() / marked[seen].sum() / np.mean(self.pixel_mm2))

    def volumes(self, image_pixels: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predicted volumes [6, t], true ones [6], ml, and in how many slices each is known [6]."""
        extents = slice_extents_mm(self.z_mm)
        known = np.array(self.annotated)[:, None] >> np.arange(len(CLASSES)) & 1
        image_ml_per_mm = np.mean(self.pixel_mm2) * image_pixels / _MM3_PER_ML
        weights = known * extents[:, None] * image_ml_per_mm
        predicted = np.einsum("nk,nkt->kt", weights, np.array(self.predicted))
        return predicted, (weights * self.marked).sum(axis=0), known.sum(axis=0)


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
      For each class the volumes of the series in which it is annotated in a slice or more. Series
      of a single slice are left out. Images of series without a bleed are taken to have as many
      pixels as those of a typical other one.

    Raises:
      DataError: If a record cannot be read.
    """
    found = _read(masks, manifest, split, batch_size, neighbours)
    series = [each for each in found.values() if not np.isnan(slice_extents_mm(each.z_mm)).any()]
    pixels = np.array([each.image_pixels() for each in series])
    usual = float(np.nanmedian(pixels)) if np.isfinite(pixels).any() else 0.0
    rows = [
        each.volumes(usual if np.isnan(own) else own)
        for each, own in zip(series, pixels, strict=True)
    ]
    volumes = []
    for k in range(len(CLASSES)):
        of_class = [
            (predicted[k], true[k], num_known[k] == len(each.z_mm), each.patient)
            for each, (predicted, true, num_known) in zip(series, rows, strict=True)
            if num_known[k]
        ]
        predicted, true, is_whole, patients = zip(*of_class, strict=True) if of_class else [()] * 4
        volumes.append(
            ClassVolumes(
                np.array(predicted).reshape(-1, len(THRESHOLDS)),
                np.array(true, np.float64),
                np.array(is_whole, bool),
                np.array(patients, str),
            )
        )
    return volumes


def _read(
    masks: MaskNetwork, manifest: Manifest, split: str, batch_size: int, neighbours: int
) -> dict[bytes, _Series]:
    """The series of a split, by key."""
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
                patient = rows["patient_key"][i].decode()
                series = found.setdefault(rows["series_key"][i], _Series(patient))
                series.z_mm.append(float(rows["z_mm"][i]))
                series.pixel_mm2.append(float(np.prod(rows["spacing_mm"][i])))
                series.predicted.append(_shares(probabilities[i]))
                series.marked.append(unpack(rows["mask_bits"][i]).mean(axis=(1, 2)))
                series.annotated.append(int(rows["annotated"][i]))
                series.lesion_mm2.append(rows["lesion_mm2"][i])
    return found


def _shares(probabilities: np.ndarray) -> np.ndarray:
    """Share of the pixels at or above each threshold, [S, S, 6] -> float64 [6, t]."""
    values = np.sort(probabilities.reshape(-1, len(CLASSES)), axis=0)
    below = [np.searchsorted(column, THRESHOLDS.astype(np.float32)) for column in values.T]
    return 1 - np.array(below) / len(values)
