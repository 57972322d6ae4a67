"""The challenge's submission CSV, row by row: written in a sample's order, and checked against it.

Nothing here holds a file in memory unless it is wrong: RSNA's has 727,392 rows.
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
from ich_tf.runtime.files import write_parts

_COLUMN = {name: i for i, name in enumerate(CLASSES)}


@dataclass(frozen=True)
class Problem:
    """What is wrong with a submission.

    Attributes:
      kind: `missing`, `extra`, `doubled`, `reordered`, `not a number` or `out of range`.
      count: Rows that have it.
      first: The id of the first of them, with its value where that is what is wrong.
    """

    kind: str
    count: int
    first: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.count} rows, the first {self.first}"


def read_rows(path: str | Path) -> Iterator[tuple[str, str]]:
    """The id and the value of each row, as they stand there.

    Raises:
      LabelError: If the file is missing, no CSV, or has another header.
    """
    path = Path(path)
    if not path.is_file():
        raise LabelError(
            f"{path}: no such file. Expected a CSV with the header {','.join(HEADER)}."
        )
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = tuple(next(rows, ()))
            if header != HEADER:
                raise LabelError(
                    f"{path}: the header is {','.join(header)!r}; expected {','.join(HEADER)!r}."
                )
            for row in rows:
                if len(row) != len(HEADER):
                    raise LabelError(
                        f"{path}: line {rows.line_num} has {len(row)} values; expected "
                        f"{len(HEADER)}, an id and a probability."
                    )
                yield row[0], row[1]
    except (csv.Error, UnicodeDecodeError) as error:
        raise LabelError(f"{path}: not readable as CSV ({error}).") from error


def sample_ids(path: str | Path) -> Iterator[str]:
    """The row ids of a sample submission, `<image>_<class>`, in its order.

    Raises:
      LabelError: As `read_rows`; or if an id does not end in a class, or there is none.
    """
    found = False
    for row_id, _ in read_rows(path):
        if row_id.rpartition("_")[2] not in _COLUMN:
            raise LabelError(
                f"{path}: the id {row_id!r} does not end in a class. Expected <image>_<class> with "
                f"one of {', '.join(CLASSES)}."
            )
        found = True
        yield row_id
    if not found:
        raise LabelError(f"{path}: has no rows below its header; expected six an image.")


def image_row_ids(image_ids: Iterable[str]) -> Iterator[str]:
    """The row ids of images, six each, in the challenge's order."""
    for image_id in image_ids:
        for name in CLASSES:
            yield f"{image_id}_{name}"


def write_submission(path: Path, row_ids: Iterable[str], find: Callable[[str], np.ndarray]) -> None:
    """Writes a submission atomically.

    Args:
      path: The file to write.
      row_ids: Of its rows.
      find: Image id -> probabilities [6]; asked once for rows of one image that follow each other.
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
            writer.writerow((row_id, repr(float(values[_COLUMN[name]]))))
        yield buffer.getvalue()

    write_parts(path, lines())


def check_submission(path: str | Path, sample: str | Path) -> list[Problem]:
    """What the challenge would refuse, or score as wrong.

    Args:
      path: The submission.
      sample: Whose ids, in whose order, it must have.

    Returns:
      The problems; none if it is sound.

    Raises:
      LabelError: If either cannot be read at all.
    """
    problems: dict[str, Problem] = {}

    def add(kind: str, what: str) -> None:
        known = problems.get(kind)
        problems[kind] = Problem(
            kind, known.count + 1 if known else 1, known.first if known else what
        )

    in_order = True
    for row, wanted in zip_longest(read_rows(path), sample_ids(sample)):
        in_order &= row is not None and row[0] == wanted
        if row is not None:
            value = _as_number(row[1])
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
        for one, other in zip(common, expected, strict=True):
            if one != other:
                add("reordered", one)
    return list(problems.values())


def _as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
