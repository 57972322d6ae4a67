"""The cells of a label CSV: what its rows say of each class of each image or exam."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ich_tf.labels.classes import CLASSES, LabelError
from ich_tf.labels.rows import LabelChunk
from ich_tf.labels.unknown import are_unknown
from ich_tf.runtime.names import shortened

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class LabelCells:
    """Labels of n images or exams, as the rows of a CSV tell them.

    Attributes:
      names: Id of each, objects [n], in order of first appearance.
      lines: Line of the first row of each, int [n].
      lowest, highest: Least and greatest label, float64 [n, columns]; infinite where no row tells a
        label. A column is a class, or a class of a reader; the first reader's classes come first.
      unknown: Marks of cells that a row gives as unknown, and none as a label, bool [n, columns].
      readers: Names of the readers; empty where the labels are of no reader.
    """

    names: np.ndarray
    lines: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    unknown: np.ndarray
    readers: tuple[str, ...] = ()

    def column(self, number: int) -> str:
        """Words for a column: its class, with its reader."""
        reader, class_ = divmod(number, len(CLASSES))
        return f"{self.readers[reader]}:{CLASSES[class_]}" if self.readers else CLASSES[class_]

    def disagreements(self) -> dict[int, str]:
        """What is wrong with images or exams whose rows disagree, by their number."""
        words: dict[int, str] = {}
        is_told = np.isfinite(self.lowest)
        for row, column in np.argwhere(is_told & (self.lowest != self.highest)).tolist():
            words.setdefault(row, f"its rows for {self.column(column)} disagree")
        return words


def collect_cells(
    path: object,
    chunks: Iterator[LabelChunk],
    is_valid: Callable[[np.ndarray], np.ndarray],
    complaint: str,
    advice: str,
    *,
    may_be_unknown: bool = False,
) -> LabelCells:
    """Collects the rows of a label CSV.

    Args:
      path: CSV file, for messages.
      chunks: Its rows.
      is_valid: Function that marks the valid ones among labels, float64 [n] -> bool [n].
      complaint: Predicate of an error about invalid labels, such as `labels are neither 0 nor 1`.
      advice: Sentence that ends this error: what to do.
      may_be_unknown: Whether labels may be unknown, instead of invalid.

    Raises:
      LabelError: If the file cannot be read, a label is invalid, or an id ends in no class.
    """
    numbers: dict[str, int] = {}
    lines = array("i")
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    unknown: list[tuple[np.ndarray, np.ndarray]] = []
    nameless, invalid = _Faults(), _Faults()
    readers: tuple[str, ...] = ()
    for chunk in chunks:
        readers = chunk.columns.readers
        nameless.add(chunk.classes < 0, chunk.lines, chunk.ids)
        is_faulty = ~is_valid(chunk.values)
        rows = []
        for image, line in zip(chunk.images, chunk.first_lines.tolist(), strict=True):
            rows.append(numbers.setdefault(image, len(numbers)))
            if len(numbers) > len(lines):
                lines.append(line)
        cells = np.asarray(rows, np.int32)[chunk.image], chunk.classes, chunk.values
        if may_be_unknown and is_faulty.any():
            places = np.flatnonzero(is_faulty)
            texts = chunk.texts.iloc[places].to_numpy(dtype=object)
            places = places[are_unknown(texts, chunk.values[places])]
            unknown.append((cells[0][places], cells[1][places]))
            is_faulty[places] = False
            is_known = np.ones(len(is_faulty), bool)
            is_known[places] = False
            cells = cells[0][is_known], cells[1][is_known], cells[2][is_known]
        invalid.add(is_faulty, chunk.lines, chunk.ids, chunk.texts)
        pieces.append(cells)
    if invalid.count:
        raise LabelError(
            f"{path}: {invalid.count} {complaint}, the first {invalid.first}. {advice}"
        )
    if nameless.count:
        raise LabelError(
            f"{path}: {nameless.count} ids do not end in a class, the first {nameless.first}. "
            f"Expected <image>_<class> with one of {', '.join(CLASSES)}."
        )
    # Rows may repeat if they agree: stage_2_train.csv has 24 duplicates.
    lowest = np.full((len(numbers), len(CLASSES) * max(len(readers), 1)), np.inf)
    highest = -lowest
    for image_rows, columns, values in pieces:
        np.minimum.at(lowest, (image_rows, columns), values)
        np.maximum.at(highest, (image_rows, columns), values)
    is_unknown = np.zeros(lowest.shape, bool)
    for image_rows, columns in unknown:
        is_unknown[image_rows, columns] = True
    if unknown:
        is_unknown &= np.isinf(lowest)
    names = np.array(list(numbers), dtype=object)
    return LabelCells(names, np.asarray(lines), lowest, highest, is_unknown, readers)


class _Faults:
    """Faulty rows of a file.

    Attributes:
      count: Number of faulty rows.
      first: Words for the first one; empty if there is none.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, faulty: np.ndarray, lines: np.ndarray, *texts: pd.Series) -> None:
        """Counts faulty rows.

        Args:
          faulty: Marks of the faulty rows, bool [rows].
          lines: Line of each row.
          *texts: Id of each row, and its label where that is at fault.
        """
        places = np.flatnonzero(faulty)
        if len(places) and not self.count:
            words = " with ".join(shortened(str(text.iloc[places[0]])) for text in texts)
            self.first = f"{words!r} in line {lines[places[0]]}"
        self.count += len(places)
