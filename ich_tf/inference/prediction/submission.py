"""The challenge's submission CSV: written in the order of a sample, and checked against it.

Files are read and written row by row, and only an invalid one is held in memory: RSNA's has
727,392 rows.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from ich_tf.labels import CLASSES, HEADER, LabelError
from ich_tf.labels.columns import find_columns, shown
from ich_tf.runtime import csv_lines
from ich_tf.runtime.csv_cells import cell_text, text_cell
from ich_tf.runtime.csv_files import open_csv
from ich_tf.runtime.csv_lines import CsvError
from ich_tf.runtime.files import write_parts
from ich_tf.runtime.names import shortened
from ich_tf.runtime.numbers import decimal_number

_COLUMN = {name: i for i, name in enumerate(CLASSES)}


@dataclass(frozen=True)
class SubmissionProblem:
    """A kind of invalid rows of a submission.

    Attributes:
      kind: `missing`, `extra`, `doubled`, `reordered`, `not a number` or `out of range`.
      count: Number of rows of the kind.
      first: Id of the first of these rows, followed by its value if the value is invalid.
    """

    kind: str
    count: int
    first: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.count} rows, the first {shortened(self.first)}"


def read_rows(path: str | Path) -> Iterator[tuple[str, str]]:
    """Yields the id and the value of each row, as text.

    Raises:
      LabelError: If the file is missing, is no CSV, or has another header.
    """
    path = Path(path)
    if not path.is_file():
        raise LabelError(
            f"{path}: no such file. Expected a CSV with the header {','.join(HEADER)}."
        )
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(csv_lines.lines(file))
            header = tuple(next(rows, ()))
            if header != HEADER:
                raise LabelError(
                    f"{path}: the header is {shown(header)!r}; expected {','.join(HEADER)!r}."
                )
            for row in rows:
                if len(row) != len(HEADER):
                    raise LabelError(
                        f"{path}: line {rows.line_num} has {len(row)} values; expected "
                        f"{len(HEADER)}, an id and a probability."
                    )
                yield cell_text(row[0]), row[1]
    except (csv.Error, CsvError, UnicodeDecodeError) as error:
        raise LabelError(f"{path}: not readable as CSV ({error}).") from error


def sample_ids(path: str | Path) -> Iterator[str]:
    """Yields the row ids of a sample submission, `<image>_<class>`, in its order.

    Raises:
      LabelError: If the file cannot be read, has no rows, or an id does not end in a class.
    """
    is_empty = True
    for row_id in _ids(Path(path)):
        if row_id.rpartition("_")[2] not in _COLUMN:
            raise LabelError(
                f"{path}: the id {shortened(row_id)!r} does not end in a class. Expected "
                f"<image>_<class> with one of {', '.join(CLASSES)}."
            )
        is_empty = False
        yield row_id
    if is_empty:
        raise LabelError(f"{path}: has no rows below its header; expected six an image.")


def _ids(path: Path) -> Iterator[str]:
    """Ids of a sample, which may be packed, or separated by semicolons, as label CSVs may be."""
    try:
        with open_csv(path) as text:
            place = find_columns(text.header).image
            rows = csv.reader(text.file, delimiter=text.separator, skipinitialspace=True)
            for row in rows:
                values = [value.strip() for value in row]
                if not any(values):
                    continue
                if len(values) <= place or any(values[len(text.header) :]):
                    raise CsvError(
                        f"line {text.line + rows.line_num} has {len(values)} values; expected "
                        f"{len(text.header)}, an id and a probability."
                    )
                yield cell_text(values[place])
    except ValueError as error:  # CsvError among them
        raise LabelError(f"{path}: {error}") from error


def image_row_ids(image_ids: Iterable[str]) -> Iterator[str]:
    """Yields the row ids of images, six for each, in the order of `labels.CLASSES`.

    Examples:
      >>> list(image_row_ids(["ID_a"]))[-2:]
      ['ID_a_subdural', 'ID_a_any']
    """
    for image_id in image_ids:
        for name in CLASSES:
            yield f"{image_id}_{name}"


def write_submission(path: Path, row_ids: Iterable[str], find: Callable[[str], np.ndarray]) -> None:
    """Writes a submission atomically.

    Args:
      path: Path of the file.
      row_ids: Ids of the rows, `<image>_<class>`.
      find: Function from an image id to its probabilities, [6]; called once for consecutive rows
        of one image.
    """

    def lines() -> Iterator[str]:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(HEADER)
        last, values = None, np.zeros(0)
        for row_id in row_ids:
            image_id, _, name = row_id.rpartition("_")
            if image_id != last:
                last, values = image_id, find(image_id)
                if buffer.tell() > 1 << 16:
                    yield buffer.getvalue()
                    buffer.seek(0)
                    buffer.truncate()
            # repr: the shortest text that reads as the same number.
            writer.writerow((text_cell(row_id), repr(float(values[_COLUMN[name]]))))
        yield buffer.getvalue()

    write_parts(path, lines())


def check_submission(path: str | Path, sample: str | Path) -> list[SubmissionProblem]:
    """Lists what the challenge would refuse in a submission, or score as wrong.

    Args:
      path: Path of the submission.
      sample: Path of the sample submission, whose ids it must have in the same order.

    Returns:
      A problem for each kind of invalid rows; empty for a valid submission.

    Raises:
      LabelError: If one of the files cannot be read.
    """
    problems: dict[str, SubmissionProblem] = {}

    def add(kind: str, row: str) -> None:
        known = problems.get(kind)
        problems[kind] = SubmissionProblem(
            kind, known.count + 1 if known else 1, known.first if known else row
        )

    in_order = True
    for row, wanted in zip_longest(read_rows(path), sample_ids(sample)):
        in_order &= row is not None and row[0] == wanted
        if row is not None:
            value = decimal_number(row[1])
            if math.isnan(value):
                add("not a number", f"{row[0]} with {row[1]!r}")
            elif not 0 <= value <= 1:
                add("out of range", f"{row[0]} with {row[1]}")
    if not in_order:
        given = [row_id for row_id, _ in read_rows(path)]
        wanted_ids = list(sample_ids(sample))
        known, counts = set(wanted_ids), Counter(given)
        for row_id in wanted_ids:
            if row_id not in counts:
                add("missing", row_id)
        for row_id, count in counts.items():
            if row_id not in known:
                add("extra", row_id)
            elif count > 1:
                add("doubled", row_id)
        common = [row_id for row_id in dict.fromkeys(given) if row_id in known]
        expected = [row_id for row_id in wanted_ids if row_id in counts]
        for row_id, expected_id in zip(common, expected, strict=True):
            if row_id != expected_id:
                add("reordered", row_id)
    return list(problems.values())
