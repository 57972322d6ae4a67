"""The rows of a CSV that hold labels of exams: of series, studies or patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ich_tf.conversion.label_rows import LabelRows
from ich_tf.labels import CLASSES

# The level at which a row stands is what its key names.
AUTO = "auto"


@dataclass(frozen=True, eq=False)
class ExamRows:
    """Exams of a CSV, by number from 0.

    Attributes:
      keys: Key of each exam, as the CSV has it.
      values: Labels in [0, 1], or NaN where unknown, float64 [n, 6].
      conflicts: What is wrong with the labels of an exam, by its number.
      lines: Line of the first row of each exam, int [n]; 0 if there is no file.
      level: Level of all rows, one of `LABEL_LEVELS` but slice, or `AUTO`.
      file: Words for the file, for messages.
      agreement: Lines on how far readers agree; empty if the labels are of no readers.
      is_mixed: Whether the CSV has rows of slices, too: its keys must then name exams exactly.
    """

    keys: Sequence[str]
    values: np.ndarray
    conflicts: Mapping[int, str] = field(default_factory=dict)
    lines: Sequence[int] | np.ndarray = ()
    level: str = AUTO
    file: str = "label CSV"
    agreement: str = ""
    is_mixed: bool = False

    @classmethod
    def from_csv(cls, path: str, *, readers: str, level: str, file: str) -> ExamRows:
        """Reads a CSV of labels of exams.

        Args:
          path: CSV file.
          readers: How labels of several readers become one (`labels.exam_table.READERS`).
          level: Level of all rows, or `AUTO`.
          file: Words for the file.

        Raises:
          LabelError: If the file cannot be read, or has no labels of exams.
        """
        # Imported on use, as pandas is.
        from ich_tf.labels.exam_table import ALL_UNKNOWN, read_exam_table

        table = read_exam_table(path, readers=readers)
        keys = [*table.keys, *table.conflicts]
        values = np.full((len(keys), len(CLASSES)), np.nan)
        values[: len(table.keys)] = table.values
        return cls(
            keys=keys,
            values=values,
            # A row that tells nothing contradicts no label of a slice.
            conflicts={
                number: words
                for number, words in enumerate(table.conflicts.values(), len(table.keys))
                if words != ALL_UNKNOWN
            },
            lines=[
                *np.asarray(table.lines).tolist(),
                *(table.conflict_lines.get(key, 0) for key in table.conflicts),
            ],
            level=level,
            file=file,
            agreement=table.agreement.text() if table.agreement is not None else "",
        )

    @classmethod
    def of_unused(cls, rows: LabelRows, numbers: Sequence[int], *, is_mixed: bool) -> ExamRows:
        """Those rows of a label CSV of slices that name no file: they may name an exam.

        Args:
          rows: Rows of the label CSV.
          numbers: Rows that name no file.
          is_mixed: Whether other rows name slices.
        """
        values = np.full((len(numbers), len(CLASSES)), np.nan)
        conflicts = {}
        for i, number in enumerate(numbers):
            labels = rows.labels(number)
            if labels is not None:
                values[i] = [np.nan if label is None else label for label in labels]
            elif number in rows.conflicts:
                conflicts[i] = rows.conflicts[number]
        return cls(
            keys=[rows.ids[number] for number in numbers],
            values=values,
            conflicts=conflicts,
            lines=[rows.line(number) for number in numbers],
            is_mixed=is_mixed,
        )

    def __len__(self) -> int:
        return len(self.keys)

    def place(self, number: int) -> str:
        """Words for an exam's place in the CSV."""
        if number < len(self.lines) and self.lines[number]:
            return f"line {self.lines[number]} of the {self.file}"
        return f"exam {number + 1} of the {self.file}"

    def quoted(self, number: int, hash_key: bytes) -> str:
        """An exam's place with its key, which only messages under the public key quote."""
        return self.place(number) + ("" if hash_key else f", {self.keys[number]!r},")
