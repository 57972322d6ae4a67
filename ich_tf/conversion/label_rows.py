"""The rows of a label CSV in little memory: ids, labels, and what is wrong with some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ich_tf.labels import CLASSES, read_label_table

if TYPE_CHECKING:
    import pandas as pd

# 0 or 1 per class; None where it is unknown.
Labels = tuple[int | None, ...]

_BITS = 1 << np.arange(len(CLASSES))


def union_of_labels(labels: Sequence[Labels | None]) -> Labels | None:
    """Labels of a slab: a class is present if a slice has it, and absent if none of them can have.

    Examples:
      >>> union_of_labels([(0, 1, 0, 0, 0, 1), (0, 0, None, 0, 0, None)])
      (0, 1, None, 0, 0, 1)
      >>> union_of_labels([(0,) * 6, None])
    """
    if len(labels) < 2:
        return labels[0] if labels else None
    rows = [row if row is not None else (None,) * len(CLASSES) for row in labels]
    union = tuple(
        1 if 1 in values else None if None in values else 0 for values in zip(*rows, strict=True)
    )
    return None if all(value is None for value in union) else union


class LabelRows:
    """Images of a label CSV, by number from 0; those with faulty labels come last.

    Attributes:
      numbers: Number of each image, by its id as the CSV has it; empty once rows are matched.
      ids: Id of each image.
      conflicts: What is wrong with the labels of an image, by its number.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        conflicts: Mapping[str, str] | None = None,
        lines: Sequence[int] | np.ndarray = (),
    ) -> None:
        """Stores the labels.

        Args:
          table: Label table: a row per image id, a column per class; NaN where it is unknown.
          conflicts: What is wrong with the labels of an image that is not in the table, by its id.
          lines: Line of the first row of each image, those of the table first; empty if there is
            no file.
        """
        faulty = conflicts or {}
        self.ids = [*table.index, *faulty]
        self.numbers = {image_id: number for number, image_id in enumerate(self.ids)}
        self.conflicts = {self.numbers[image_id]: text for image_id, text in faulty.items()}
        self._lines = lines
        # RSNA's 752,803 images share 64 possible rows: a byte stands for each.
        values = table.to_numpy()
        self._known: np.ndarray | None = None
        if values.dtype.kind == "f" and np.isnan(values).any():
            self._known = (~np.isnan(values) @ _BITS).astype(np.uint8)
            values = values == 1
        self._codes = (values @ _BITS).astype(np.uint8)
        self._labels = [
            tuple((code & _BITS > 0).astype(int).tolist()) for code in range(2 ** len(CLASSES))
        ]

    @classmethod
    def from_csv(cls, path: str) -> LabelRows:
        """Reads a label CSV.

        Raises:
          LabelError: If the file cannot be read.
        """
        read = read_label_table(path)
        return cls(read.table, read.conflicts, read.lines)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_unknown(self) -> bool:
        """Whether the label of any class of any image is unknown."""
        return self._known is not None

    def labels(self, number: int) -> Labels | None:
        """Labels of an image, 0 or 1 per class, or None; None if they are faulty or all unknown."""
        if not 0 <= number < len(self._codes):
            return None
        labels: Labels = self._labels[self._codes[number]]
        if self._known is None:
            return labels
        known = int(self._known[number])
        if not known:
            return None
        return tuple(label if known >> k & 1 else None for k, label in enumerate(labels))

    def line(self, number: int) -> int:
        """Line of an image in the CSV; 0 if there is no file."""
        return int(self._lines[number]) if number < len(self._lines) else 0

    def place(self, number: int) -> str:
        """Words for an image's place in the CSV."""
        if number < len(self._lines):
            return f"line {self._lines[number]} of the label CSV"
        return f"image {number + 1} of the label CSV"
