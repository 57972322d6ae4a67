"""Volumes of the series of a split at many thresholds, beside those of their masks."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ich_tf.inference.masks.image_masks import in_image
from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.labels import ANY, CLASSES
from ich_tf.masks.bits import unpack
from ich_tf.metrics.extents import slice_extents_mm
from ich_tf.records.input_pipeline import read_masked_split
from ich_tf.records.manifest import Manifest

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
    """What is collected of a series, a row a slice.

    Attributes:
      levels: Of each pixel and class, how many of `THRESHOLDS` its probability reaches: uint8 of
        the records' size, compressed, [6].
      marked: Share of the image that the record's mask marks, [6].
    """

    patient: str
    z_mm: list[float] = field(default_factory=list)
    pixel_mm2: list[float] = field(default_factory=list)
    levels: list[list[bytes]] = field(default_factory=list)
    marked: list[np.ndarray] = field(default_factory=list)
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

    def known(self, class_index: int) -> np.ndarray:
        """Slices in which a class is annotated, 0 or 1, [n]."""
        return np.array(self.annotated) >> class_index & 1

    def shares(self, class_index: int, subtypes: Sequence[int]) -> np.ndarray:
        """Share of each image that is marked at each threshold, float64 [n, t]."""
        rows = []
        for of_slice in self.levels:
            level = _unpacked(of_slice[class_index])
            for k, place in enumerate(subtypes):
                level[_unpacked(of_slice[k]) > place] = len(THRESHOLDS)
            counts = np.bincount(level, minlength=len(THRESHOLDS) + 1)
            rows.append(counts[:0:-1].cumsum()[::-1] / len(level))
        return np.array(rows)


@dataclass(frozen=True, eq=False)
class SplitVolumes:
    """Volumes of the series of a split; those of `any` depend on the thresholds of subtypes."""

    _series: Sequence[_Series]
    _image_pixels: Sequence[float]

    def of_class(self, class_index: int, subtypes: Sequence[int] = ()) -> ClassVolumes:
        """Volumes of a class in the series in which it is annotated in a slice or more.

        Args:
          class_index: Index of the class.
          subtypes: Index in `THRESHOLDS` of the threshold of each subtype, [5]: `any` holds what is
            marked of them. Empty for a subtype.
        """
        predicted, true, is_whole, patients = [], [], [], []
        for series, pixels in zip(self._series, self._image_pixels, strict=True):
            known = series.known(class_index)
            if not known.any():
                continue
            image_ml_per_mm = np.mean(series.pixel_mm2) * pixels / _MM3_PER_ML
            weights = known * slice_extents_mm(series.z_mm) * image_ml_per_mm
            predicted.append(weights @ series.shares(class_index, subtypes))
            true.append(weights @ np.array(series.marked)[:, class_index])
            is_whole.append(bool(known.all()))
            patients.append(series.patient)
        return ClassVolumes(
            np.array(predicted).reshape(-1, len(THRESHOLDS)),
            np.array(true, np.float64),
            np.array(is_whole, bool),
            np.array(patients, str),
        )


def split_volumes(
    masks: MaskNetwork, manifest: Manifest, split: str, batch_size: int, neighbours: int
) -> SplitVolumes:
    """Measures the series of a split at all thresholds, as prediction marks pixels.

    Args:
      masks: Networks that give masks.
      manifest: Manifest of the data.
      split: Name of the split.
      batch_size: Slices in a step.
      neighbours: Number of slices that the networks see at once.

    Returns:
      The volumes. Series of a single slice are left out. Images of series without a bleed are taken
      to have as many pixels as those of a typical other one.

    Raises:
      DataError: If a record cannot be read.
    """
    found = _read(masks, manifest, split, batch_size, neighbours)
    series = [each for each in found.values() if not np.isnan(slice_extents_mm(each.z_mm)).any()]
    pixels = np.array([each.image_pixels() for each in series])
    usual = float(np.nanmedian(pixels)) if np.isfinite(pixels).any() else 0.0
    return SplitVolumes(series, np.where(np.isnan(pixels), usual, pixels).tolist())


def _read(
    masks: MaskNetwork, manifest: Manifest, split: str, batch_size: int, neighbours: int
) -> dict[bytes, _Series]:
    """The series of a split, by key."""
    found: dict[bytes, _Series] = {}
    for batch in read_masked_split(manifest, split, batch_size=batch_size, neighbours=neighbours):
        probabilities = masks.probabilities(batch["image"])
        rows = {name: batch[name].numpy() for name in _FIELDS}
        for i in np.flatnonzero(rows["mask"]):
            patient = rows["patient_key"][i].decode()
            series = found.setdefault(rows["series_key"][i], _Series(patient))
            series.z_mm.append(float(rows["z_mm"][i]))
            series.pixel_mm2.append(float(np.prod(rows["spacing_mm"][i])))
            series.levels.append(_levels(probabilities[i], manifest.image_shape[0]))
            series.marked.append(unpack(rows["mask_bits"][i]).mean(axis=(1, 2)))
            series.annotated.append(int(rows["annotated"][i]))
            series.lesion_mm2.append(rows["lesion_mm2"][i])
    return found


def _levels(probabilities: np.ndarray, size: int) -> list[bytes]:
    """How many thresholds each pixel of the stored image reaches: [S, S, 6] -> 6 x [size, size]."""
    ends = THRESHOLDS.astype(np.float32)
    packed = []
    for k in range(len(CLASSES)):
        image = in_image(np.ascontiguousarray(probabilities[..., k]), (), size, size)
        levels = np.searchsorted(ends, image.ravel(), side="right").astype(np.uint8)
        packed.append(zlib.compress(levels.tobytes(), 1))
    return packed


def _unpacked(levels: bytes) -> np.ndarray:
    return np.frombuffer(bytearray(zlib.decompress(levels)), np.uint8)
