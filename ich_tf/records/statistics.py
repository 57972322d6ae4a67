"""Statistics of stored slices: of a single slice, of a shard or of a whole conversion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ich_tf.labels import CLASSES
from ich_tf.windows import stored_to_hu

# Bins of 32 HU from -1024 HU on: the seven highest bits of a stored value.
HISTOGRAM_BINS, _HISTOGRAM_SHIFT = 128, 9
_TILTED_DEG = 0.5


@dataclass(frozen=True, eq=False)
class SliceStatistics:
    """Statistics of any number of stored slices; sums of integers, so that order is irrelevant.

    Attributes:
      label_counts: Number of positive slices per class, in the order of `CLASSES`.
      repairs: Number of slices per named repair.
      decoders: Number of slices per decoder of compressed pixels, with its version.
      transfer_syntaxes: Number of slices per transfer syntax UID.
      scanners: Number of slices per maker.
      spacings: Number of slices per distance between rows; the key is in mm, with three decimals.
      num_tilted: Number of slices with a gantry tilt of more than half a degree.
      num_pixels: Number of pixels.
      stored_sum: Sum of the stored values (`windows.store_hu`) of all pixels.
      hu_min: Smallest value, HU; None without slices.
      hu_max: Greatest value, HU; None without slices.
      hu_histogram: Number of pixels per bin of 32 HU from -1024 HU on, counted over every fourth
        row and column, int64 [`HISTOGRAM_BINS`].
    """

    label_counts: tuple[int, ...]
    repairs: Mapping[str, int]
    decoders: Mapping[str, int]
    transfer_syntaxes: Mapping[str, int]
    scanners: Mapping[str, int]
    spacings: Mapping[str, int]
    num_tilted: int
    num_pixels: int
    stored_sum: int
    hu_min: float | None
    hu_max: float | None
    hu_histogram: np.ndarray

    @classmethod
    def of_slice(
        cls,
        stored: np.ndarray,
        *,
        labels: tuple[int, ...],
        repairs: Sequence[str],
        decoder: str,
        transfer_syntax: str,
        scanner: str,
        row_spacing_mm: float,
        gantry_tilt_deg: float,
    ) -> SliceStatistics:
        """Statistics of one slice.

        Args:
          stored: Slice in its stored form, uint16 [H, W].
          labels: 0 or 1 per class, in the order of `CLASSES`.
          repairs: Names of the repairs that were applied.
          decoder: Decoder of the compressed pixels; empty for uncompressed ones.
          transfer_syntax: Transfer syntax UID; empty if unknown.
          scanner: Maker of the scanner.
          row_spacing_mm: Distance between rows of the original image, mm.
          gantry_tilt_deg: Tilt of the gantry, degrees.
        """
        bins = (stored[::4, ::4] >> _HISTOGRAM_SHIFT).reshape(-1)
        return cls(
            label_counts=labels,
            repairs=dict.fromkeys(repairs, 1),
            decoders={decoder: 1} if decoder else {},
            transfer_syntaxes={transfer_syntax: 1} if transfer_syntax else {},
            scanners={scanner: 1} if scanner else {},
            spacings={f"{row_spacing_mm:.3f}": 1},
            num_tilted=int(abs(gantry_tilt_deg) > _TILTED_DEG),
            num_pixels=stored.size,
            # Exact below 2**53, and in a tenth of NumPy's time.
            stored_sum=int(cv2.sumElems(stored)[0]),
            hu_min=stored_to_hu(int(stored.min())),
            hu_max=stored_to_hu(int(stored.max())),
            hu_histogram=np.bincount(bins, minlength=HISTOGRAM_BINS),
        )

    @classmethod
    def total(cls, parts: Iterable[SliceStatistics]) -> SliceStatistics:
        """Statistics of all slices of several parts, which are consumed one at a time.

        Examples:
          >>> import numpy as np
          >>> slice_ = SliceStatistics.of_slice(
          ...     np.full((4, 4), 16 * 1024, np.uint16),
          ...     labels=(0, 0, 0, 0, 1, 1),
          ...     repairs=(),
          ...     decoder="",
          ...     transfer_syntax="1.2.840.10008.1.2.1",
          ...     scanner="GE",
          ...     row_spacing_mm=0.5,
          ...     gantry_tilt_deg=0.0,
          ... )
          >>> both = SliceStatistics.total([slice_, slice_])
          >>> both.label_counts, both.spacings, both.hu_max
          ((0, 0, 0, 0, 2, 2), {'0.500': 2}, 0.0)
        """
        counters: dict[str, dict[str, int]] = {name: {} for name in _COUNTERS}
        labels = [0] * len(CLASSES)
        histogram = np.zeros(HISTOGRAM_BINS, np.int64)
        num_tilted = num_pixels = stored_sum = 0
        lowest: float | None = None
        highest: float | None = None
        for part in parts:
            for name, counts in counters.items():
                for key, count in getattr(part, name).items():
                    counts[key] = counts.get(key, 0) + count
            labels = [a + b for a, b in zip(labels, part.label_counts, strict=True)]
            histogram += part.hu_histogram
            num_tilted += part.num_tilted
            num_pixels += part.num_pixels
            stored_sum += part.stored_sum
            if part.hu_min is not None:
                lowest = part.hu_min if lowest is None else min(lowest, part.hu_min)
            if part.hu_max is not None:
                highest = part.hu_max if highest is None else max(highest, part.hu_max)
        return cls(
            label_counts=tuple(labels),
            num_tilted=num_tilted,
            num_pixels=num_pixels,
            stored_sum=stored_sum,
            hu_min=lowest,
            hu_max=highest,
            hu_histogram=histogram,
            **counters,
        )

    @property
    def hu_mean(self) -> float | None:
        """Mean of all pixels, HU; None without slices."""
        return stored_to_hu(self.stored_sum / self.num_pixels) if self.num_pixels else None


_COUNTERS = ("repairs", "decoders", "transfer_syntaxes", "scanners", "spacings")
