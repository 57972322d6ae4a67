"""Statistics of the masks of stored slices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ich_tf.labels import CLASSES

_ZEROS = (0,) * len(CLASSES)


@dataclass(frozen=True)
class MaskStatistics:
    """Sums over any number of slices, by class; of integers, so that order is irrelevant.

    Attributes:
      annotated: Number of slices in which it is known where the class is, and where it is not.
      marked: Number of slices in which pixels of the class are marked.
      volume_mm3: Volume of the class, mm3: areas times the lengths that the slices stand for.
    """

    annotated: tuple[int, ...] = _ZEROS
    marked: tuple[int, ...] = _ZEROS
    volume_mm3: tuple[int, ...] = _ZEROS

    @classmethod
    def of_slice(
        cls, annotated: int, lesion_mm2: Sequence[float], extent_mm: float
    ) -> MaskStatistics:
        """Statistics of one slice.

        Args:
          annotated: Bit k is set if class k is annotated.
          lesion_mm2: Area of each class, mm2; of any value where it is not annotated.
          extent_mm: Length of the body that the slice stands for (`slice_extents_mm`), mm.

        Examples:
          >>> MaskStatistics.of_slice(0b100010, [0, 12.5, 0, 0, 0, 0], 5.0)
          MaskStatistics(annotated=(0, 1, 0, 0, 0, 1), marked=(0, 1, 0, 0, 0, 0), \
volume_mm3=(0, 62, 0, 0, 0, 0))
        """
        is_annotated = tuple(annotated >> k & 1 for k in range(len(CLASSES)))
        areas = [
            area if known else 0.0 for known, area in zip(is_annotated, lesion_mm2, strict=True)
        ]
        return cls(
            annotated=is_annotated,
            marked=tuple(int(area > 0) for area in areas),
            volume_mm3=tuple(round(area * extent_mm) for area in areas),
        )

    @classmethod
    def total(cls, parts: Iterable[MaskStatistics]) -> MaskStatistics:
        """Statistics of all slices of several parts."""
        rows = [(part.annotated, part.marked, part.volume_mm3) for part in parts]
        if not rows:
            return cls()
        sums = [
            tuple(sum(counts) for counts in zip(*column, strict=True))
            for column in zip(*rows, strict=True)
        ]
        return cls(*sums)
