"""Rows of a label CSV, long or wide, in chunks: as one table those of RSNA take 2 GB."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ich_tf.labels.classes import LabelError
from ich_tf.labels.columns import Columns, class_number, find_columns
from ich_tf.labels.unknown import label_number
from ich_tf.runtime.csv_cells import cell_text
from ich_tf.runtime.csv_files import CsvText, open_csv
from ich_tf.runtime.csv_lines import CsvError

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)
_CHUNK_ROWS, _CHUNK_CELLS = 24_000, 2_000_000


@dataclass(frozen=True)
class LabelChunk:
    """Some rows of a label CSV; a row of a wide one is a row for each class.

    Attributes:
      images: Names of n images, each once, as written.
      first_lines: Lines of the first row of each image in the chunk, int [n].
      image: Number of each row's image among `images`, int [rows].
      classes: Number of each row's class, int [rows]; -1 for an id that ends in none.
      values: Labels, float64 [rows]; NaN for what is no number.
      ids, texts: Id and label of each row as written, for messages.
      lines: Line of each row, int [rows].
      columns: Columns of the file.
    """

    images: list[str]
    first_lines: np.ndarray
    image: np.ndarray
    classes: np.ndarray
    values: np.ndarray
    ids: pd.Series
    texts: pd.Series
    lines: np.ndarray
    columns: Columns


def read_chunks(
    path: str | Path,
    find: Callable[[Sequence[str]], Columns] = find_columns,
    number: Callable[[str], int] = class_number,
) -> Iterator[LabelChunk]:
    """Yields the rows of a label CSV.

    Args:
      path: CSV file.
      find: Function that finds the columns by their names.
      number: Number of a class by its name, -1 for other names.

    Raises:
      LabelError: If the file cannot be read, or its columns are not those of labels.
    """
    try:
        with open_csv(Path(path)) as text:
            columns = _columns(text, find)
            if columns.unread:
                _LOG.info("%s: not read: the columns %s", path, ", ".join(columns.unread))
            for rows in _frames(text, columns):
                if columns.classes:
                    yield _wide(rows, columns, text)
                else:
                    yield _long(rows, columns, text, number)
    except CsvError as error:
        raise LabelError(f"{path}: {error}") from error


def _columns(text: CsvText, find: Callable[[Sequence[str]], Columns]) -> Columns:
    try:
        return find(text.header)
    except ValueError as error:
        raise CsvError(str(error)) from error


def _frames(text: CsvText, columns: Columns) -> Iterator[pd.DataFrame]:
    """Yields the rows as texts, indexed by line."""
    import pandas as pd

    width = max(len(text.header), text.width)
    is_empty = True
    try:
        with pd.read_csv(  # type: ignore[call-overload]
            text.file,
            sep=text.separator,
            header=None,
            names=list(range(width)),
            dtype=str,
            na_filter=False,
            skipinitialspace=True,
            skip_blank_lines=False,
            # A row may have few of the columns that a header announces, which pandas fills in.
            chunksize=max(1, min(_CHUNK_ROWS, _CHUNK_CELLS // width)),
        ) as chunks:
            for chunk in chunks:
                chunk.index += text.line + 1
                rows = _checked(chunk, len(text.header), columns.image)
                is_empty &= rows.empty
                if len(rows):
                    yield rows
    except pd.errors.EmptyDataError:
        pass
    except pd.errors.ParserError as error:
        raise CsvError(_parser_problem(str(error), text.line)) from error
    if is_empty:
        raise CsvError("has no rows below its header; expected six an image, or one.")


def _checked(chunk: pd.DataFrame, named: int, image: int) -> pd.DataFrame:
    """Drops blank lines; refuses values beyond the header, and rows without an id."""
    for place in chunk.columns[named:]:
        beyond = chunk.index[chunk[place].fillna("").str.strip() != ""]
        if len(beyond):
            raise CsvError(
                f"line {beyond[0]} has more values than the header has columns, {named}; quote "
                "values that hold the separator."
            )
    nameless = (chunk[image] == "").to_numpy()
    if nameless.any():
        is_blank = nameless & (chunk.fillna("") == "").all(axis=1).to_numpy()
        if (nameless & ~is_blank).any():
            line = chunk.index[nameless & ~is_blank][0]
            raise CsvError(f"line {line} has no id.")
        chunk = chunk[~is_blank]
    return chunk


def _parser_problem(error: str, header_line: int) -> str:
    found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", error)
    if found:
        expected, line, number = map(int, found.groups())
        return f"line {line + header_line} has {number} values; expected {expected}."
    found = re.search(r"EOF inside string starting at row (\d+)", error)
    if found:
        return f"line {int(found[1]) + header_line + 1} has a quotation mark that does not close."
    return f"not readable as CSV ({error})."


def _long(
    rows: pd.DataFrame, columns: Columns, text: CsvText, class_of: Callable[[str], int]
) -> LabelChunk:
    import pandas as pd

    ids, texts = rows[columns.image], rows[columns.label]
    parts = ids.str.rsplit("_", n=1, expand=True).reindex(columns=[0, 1])
    # An id without an underscore has no class, which is number -1, the last of the table.
    number, names = pd.factorize(parts[1])
    classes = np.array([*map(class_of, names), -1], np.int8)[number]
    image, images = pd.factorize(parts[0])
    lines = rows.index.to_numpy()
    return LabelChunk(
        # Whether an id begins as a formula shows with its class only: "+1_any" does, "+1" does not.
        images=[cell_text(f"{name}_")[:-1] for name in _trimmed(images, image, lines)],
        first_lines=_first(lines, image, len(images)),
        image=image,
        classes=classes,
        values=_as_numbers(texts, text.separator),
        ids=ids,
        texts=texts,
        lines=lines,
        columns=columns,
    )


def _wide(rows: pd.DataFrame, columns: Columns, text: CsvText) -> LabelChunk:
    import pandas as pd

    image, images = pd.factorize(rows[columns.image])
    lines = rows.index.to_numpy()
    count = len(columns.classes)
    texts = pd.concat([rows[place] for place in columns.classes.values()])
    return LabelChunk(
        images=[cell_text(name) for name in _trimmed(images, image, lines)],
        first_lines=_first(lines, image, len(images)),
        image=np.tile(image, count),
        classes=np.repeat(np.array(list(columns.classes), np.int8), len(rows)),
        values=_as_numbers(texts, text.separator),
        ids=pd.concat([rows[columns.image]] * count),
        texts=texts,
        lines=np.tile(lines, count),
        columns=columns,
    )


def _trimmed(names: pd.Index, image: np.ndarray, lines: np.ndarray) -> list[str]:
    """Names of images without the white space around them, which one must be more than."""
    trimmed = [name.strip() for name in names]
    if "" in trimmed:
        raise CsvError(f"line {lines[np.argmax(image == trimmed.index(''))]} has no id.")
    return trimmed


def _first(lines: np.ndarray, image: np.ndarray, count: int) -> np.ndarray:
    """Line of the first row of each image."""
    first = np.zeros(count, np.int64)
    first[image[::-1]] = lines[::-1]  # of equal indices the last one counts
    return first


def _as_numbers(texts: pd.Series, separator: str) -> np.ndarray:
    """Texts as float64, NaN for no number, parsed by Python: pandas may lose the last digit."""
    import pandas as pd

    # Labels have few different texts. Row -1, of a row that ends before this column, is NaN.
    number, different = pd.factorize(texts)
    return np.array([*(label_number(text, separator) for text in different), np.nan])[number]
