"""A split's series with two masks of each slice: that of its record, and the model's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.dicom.crop import Box
from ich_tf.evaluation.masks.original_size import Marked, original_sides
from ich_tf.inference.masks.image_masks import decode_bits, encode_bits, image_bits
from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.labels import CLASSES
from ich_tf.masks.bits import pack, unpack
from ich_tf.metrics.extents import planes_of
from ich_tf.records.input_pipeline import read_masked_split
from ich_tf.records.manifest import Manifest
from ich_tf.records.stored_slices import read_crops

_FIELDS = (
    "source_id", "patient_key", "series_key", "z_mm", "spacing_mm", "mask_bits", "annotated",
    "lesion_mm2",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class SegmentedSlice:
    """A slice with both masks, as PNG: those of a whole split fit into memory.

    Attributes:
      source_id: Image id.
      z_mm: Position along the normal of the series, mm.
      spacing_mm: Distances between rows and between columns of the original image, mm.
      annotated: Bit k is set if it is known where class k is, and where it is not.
      reference: Mask of the record, of the stored image's size.
      prediction: Mask of the model, of the same size.
      lesion_mm2: Area of each class in the original image, mm2, float32 [6]; NaN or 0 where it is
        not annotated.
    """

    source_id: str
    z_mm: float
    spacing_mm: tuple[float, float]
    annotated: int
    reference: bytes
    prediction: bytes
    lesion_mm2: np.ndarray

    def is_annotated(self, class_index: int) -> bool:
        """Whether it is known where a class is."""
        return bool(self.annotated >> class_index & 1)


@dataclass(frozen=True, eq=False)
class SegmentedSeries:
    """The slices of a series in order, a plane each.

    Attributes:
      series_key, patient_key: Keys of the series and of its patient.
      slices: Slices by rising position; of copies of a plane the first.
      pixel_mm: Distances between rows and between columns of the stored image, mm; NaN if they are
        not known.
    """

    series_key: str
    patient_key: str
    slices: tuple[SegmentedSlice, ...]
    pixel_mm: tuple[float, float] = (float("nan"), float("nan"))

    @classmethod
    def of(cls, key: str, patient_key: str, slices: Sequence[SegmentedSlice]) -> SegmentedSeries:
        """A series of slices in any order."""
        in_order = sorted(slices, key=lambda slice_: slice_.z_mm)
        _, plane_of = planes_of(np.array([slice_.z_mm for slice_ in in_order]))
        _, firsts = np.unique(plane_of, return_index=True)
        return cls(key, patient_key, tuple(in_order[first] for first in firsts))

    @property
    def has_volume(self) -> bool:
        """Whether it is known for which volume a pixel stands."""
        return len(self.slices) > 1 and bool(np.isfinite(self.pixel_mm).all())

    @property
    def spacing_mm(self) -> tuple[np.ndarray, float, float]:
        """Distances between slices, float64 [n - 1], between rows and between columns, mm."""
        return np.diff([slice_.z_mm for slice_ in self.slices]), *self.pixel_mm

    def annotated(self, class_index: int) -> np.ndarray:
        """Slices in which a class is annotated, bool [n]."""
        return np.array([slice_.is_annotated(class_index) for slice_ in self.slices])

    def bits(self) -> tuple[np.ndarray, np.ndarray]:
        """Masks of the records and of the model, uint8 [n, H, W] each, bit k for class k."""
        reference = [decode_bits(slice_.reference) for slice_ in self.slices]
        prediction = [decode_bits(slice_.prediction) for slice_ in self.slices]
        return np.stack(reference), np.stack(prediction)


def segment_split(
    network: MaskNetwork, manifest: Manifest, split: str, batch_size: int, neighbours: int
) -> list[SegmentedSeries]:
    """Marks the bleeds of a split's slices, labelled or not.

    Args:
      network: Networks that give masks, with the thresholds of each class.
      manifest: Manifest of the records.
      split: Name of the split.
      batch_size: Slices in a step.
      neighbours: Number of slices that the networks see at once.

    Returns:
      The series, in the order of the records.

    Raises:
      DataError: If a record cannot be read.
    """
    rows, columns, _ = manifest.image_shape
    slices: dict[tuple[str, str], list[SegmentedSlice]] = {}
    for batch in read_masked_split(manifest, split, batch_size=batch_size, neighbours=neighbours):
        maps = network.probabilities(batch["image"])
        values = {name: batch[name].numpy() for name in _FIELDS}
        for i in np.flatnonzero(batch["mask"].numpy()):
            key = values["series_key"][i].decode(), values["patient_key"][i].decode()
            marked = image_bits(maps[i], network.thresholds, (), rows, columns)
            slices.setdefault(key, []).append(
                SegmentedSlice(
                    source_id=values["source_id"][i].decode(),
                    z_mm=float(values["z_mm"][i]),
                    spacing_mm=tuple(values["spacing_mm"][i].tolist()),
                    annotated=int(values["annotated"][i]),
                    # Bit of any where a subtype is marked, as in the prediction.
                    reference=encode_bits(pack(unpack(values["mask_bits"][i]))),
                    prediction=encode_bits(marked),
                    lesion_mm2=values["lesion_mm2"][i],
                )
            )
    series = [SegmentedSeries.of(*key, of_series) for key, of_series in slices.items()]
    crops = read_crops(manifest.split_shards(split)) if manifest.crop != "none" else {}
    return _measured(series, crops, rows)


def _measured(
    series: Sequence[SegmentedSeries], crops: Mapping[str, Box], size: int
) -> list[SegmentedSeries]:
    """The series with the distances of their pixels."""
    sides = original_sides([_appearance(each, crops) for each in series])
    return [
        dataclasses.replace(each, pixel_mm=(side / size * spacing[0], side / size * spacing[1]))
        for each, side in zip(series, sides, strict=True)
        for spacing in [each.slices[0].spacing_mm]
    ]


def _appearance(series: SegmentedSeries, crops: Mapping[str, Box]) -> Marked:
    """What the bleeds of a series say of the size of its original images."""
    original, stored, size = 0.0, 0.0, 1
    for slice_ in series.slices:
        bits = decode_bits(slice_.reference)
        known = [k for k in range(len(CLASSES)) if slice_.is_annotated(k)]
        original += np.nan_to_num(slice_.lesion_mm2)[known].sum() / np.prod(slice_.spacing_mm)
        stored += sum(np.count_nonzero(bits >> k & 1) for k in known)
        size = bits.shape[0]
    crop = crops.get(series.slices[0].source_id, ())
    return Marked(original, stored, size, max(crop[2:], default=0))
