"""The history of a run: losses and speed of each epoch, in history.csv of its work dir."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ich_tf.errors import DataError
from ich_tf.labels import CLASSES
from ich_tf.runtime.files import read_text, write_text
from ich_tf.runtime.names import shortened

# Some hundred bytes an epoch.
_MOST_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class EpochResult:
    """A row of history.csv.

    Attributes:
      epoch: Number of the epoch, counted from 1.
      learning_rate: Learning rate of the epoch's last step.
      train_loss: Mean loss of the epoch's batches, each before its step.
      val_loss: Weighted log loss on the validation fold, every record once.
      val_per_class: Log loss of each class on the validation fold.
      seconds: Time of the steps, without the validation, s.
      slices_per_second: Slices trained on per second of `seconds`.
      input_wait: Share of `seconds` in which the devices waited for a batch.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    val_loss: float
    val_per_class: tuple[float, ...]
    seconds: float
    slices_per_second: float
    input_wait: float

    def row(self) -> dict[str, float]:
        """Makes the row of history.csv, values by column."""
        values = dataclasses.asdict(self)
        values.pop("val_per_class")
        per_class = zip(CLASSES, self.val_per_class, strict=True)
        return {**values, **{f"val_{name}": loss for name, loss in per_class}}

    @classmethod
    def from_row(cls, row: dict[str, str]) -> EpochResult:
        """Reads a row that `row` made, as text."""
        names = [field.name for field in dataclasses.fields(cls)]
        numbers: dict[str, Any] = {name: float(row[name]) for name in names if name in row}
        per_class = tuple(float(row[f"val_{name}"]) for name in CLASSES)
        return cls(**{**numbers, "epoch": int(row["epoch"]), "val_per_class": per_class})


def read_history(path: str | Path) -> list[EpochResult]:
    """Reads the epochs of a run; an empty list if the file is missing.

    Raises:
      DataError: If it is no history.
    """
    path = Path(path)
    if not path.is_file():
        return []
    try:
        rows = csv.DictReader(io.StringIO(read_text(path, _MOST_BYTES)))
        return [EpochResult.from_row(row) for row in rows]
    except (KeyError, TypeError, ValueError, OSError, csv.Error) as error:
        raise DataError(
            f"{path}: not the history of a run ({shortened(str(error))}). Copy it from where the "
            "run was made, or train again with --overwrite."
        ) from error


def write_history(path: str | Path, history: Sequence[EpochResult]) -> None:
    """Writes all epochs, atomically.

    Args:
      path: The CSV file.
      history: Results of the epochs, one or more.
    """
    text = io.StringIO()
    rows = [result.row() for result in history]
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(Path(path), text.getvalue())
