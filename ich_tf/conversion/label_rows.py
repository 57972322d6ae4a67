"""The rows of a label CSV in little memory: ids, labels, and what is wrong with some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ich_tf.labels import CLASSES, read_label_table

if TYPE_CHECKING:
    import pandas as pd

Labels = tuple[int, ...]

_BITS = 1 << np.arange(len(CLASSES))


def union_of_labels(labels: Sequence[Labels | None]) -> Labels | None:
    """Labels of a slab: those of any of its slices."""
    known = [row for row in labels if row is not None]
    if len(known) < 2:
        return known[0] if known else None
    return tuple(np.max(known, axis=0).tolist())


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
          table: Label table: a row per image id, a column per class.
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
        self._codes = (table.to_numpy() @ _BITS).astype(np.uint8)
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

    def labels(self, number: int) -> Labels | None:
        """Labels of an image, 0 or 1 per class; None if they are faulty."""
        return self._labels[self._codes[number]] if number < len(self._codes) else None

    def place(self, number: int) -> str:
        """Words for an image's place in the CSV."""
        if number < len(self._lines):
            return f"line {self._lines[number]} of the label CSV"
        return f"image {number + 1} of the label CSV"
