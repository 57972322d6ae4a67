"""The six classes of the RSNA 2019 challenge and its CSV files.

A label table is a pandas DataFrame with one row an image, indexed by image id (`ID_xxxxxxxxx`),
with the columns `CLASSES`. The CSV files are long: one row for each image and class, such as
`ID_xxxxxxxxx_epidural,0`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ich_tf.errors import InputError

if TYPE_CHECKING:
    # Imported on use: pandas takes 0.3 s to load, and ich_tf.metrics and --help need only the
    # names of the classes.
    import pandas as pd

__all__ = [
    "ANY",
    "CLASSES",
    "HEADER",
    "LabelError",
    "SUBTYPES",
    "WEIGHTS",
    "read_labels",
    "read_labels_and_conflicts",
    "read_submission",
    "write_long_csv",
]

# Order of the rows of an image in the CSV files.
CLASSES = (
    "epidural",
    "intraparenchymal",
    "intraventricular",
    "subarachnoid",
    "subdural",
    "any",
)
SUBTYPES = CLASSES[:-1]
ANY = CLASSES.index("any")
# The metric of the challenge counts `any` twice.
WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 2.0)

HEADER = ("ID", "Label")
_CHUNK_ROWS = 24_000


class LabelError(InputError):
    """A label or submission CSV that is unreadable or has not six consistent rows an image."""


def read_labels(path: str | Path) -> pd.DataFrame:
    """Reads a label CSV into a label table.

    Duplicate rows with equal values are dropped; stage_2_train.csv has 24.

    Args:
      path: CSV file with the header `ID,Label` and six rows an image, in any order.

    Returns:
      A DataFrame, int64 [images, 6], indexed by image id in order of first appearance.

    Raises:
      LabelError: If the file cannot be read, its header differs, a label is not 0 or 1,
        two rows of an id disagree, a class is missing, or `any` is 0 where a subtype is 1.

    Examples:
      >>> import tempfile
      >>> path = f"{tempfile.mkdtemp()}/labels.csv"
      >>> write_long_csv(path, ["ID_a", "ID_b"], np.array([[0, 1, 0, 0, 0, 1], [0] * 6]))
      >>> read_labels(path).loc["ID_a"].tolist()
      [0, 1, 0, 0, 0, 1]
    """
    table, conflicts = read_labels_and_conflicts(path)
    _refuse(conflicts, path)
    return table


def read_labels_and_conflicts(path: str | Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Reads a label CSV in which some images may have incomplete or contradictory labels.

    Args:
      path: CSV file, as for `read_labels`.

    Returns:
      Label table of the images with valid labels, and a dict of the others: image id -> problem.

    Raises:
      LabelError: If the file cannot be read, its header differs, or a label is not 0 or 1.
    """
    table, conflicts = _read_wide(
        path,
        lambda values: (values == 0) | (values == 1),
        "labels are neither 0 nor 1",
        "Labels mark absence (0) or presence (1): correct those rows.",
    )
    table = table.astype("int64")
    any_label = table["any"].to_numpy()
    subtypes = table[list(SUBTYPES)].to_numpy().max(axis=1, initial=0)
    contradictory = table.index[subtypes > any_label]
    conflicts.update(dict.fromkeys(contradictory, "a subtype is 1 with any = 0"))
    return table.drop(index=contradictory), conflicts


def read_submission(path: str | Path) -> pd.DataFrame:
    """Reads a submission CSV into a table of probabilities.

    Args:
      path: CSV file with the header `ID,Label` and six rows an image, in any order.

    Returns:
      A DataFrame, float64 [images, 6], indexed by image id in order of first appearance.

    Raises:
      LabelError: As for `read_labels`; also if a value is NaN or outside [0, 1].

    Examples:
      >>> import tempfile
      >>> path = f"{tempfile.mkdtemp()}/submission.csv"
      >>> write_long_csv(path, ["ID_a"], np.array([[0.1, 0, 0, 0, 0.5, 0.6]]))
      >>> float(read_submission(path).loc["ID_a", "subdural"])
      0.5
    """
    table, conflicts = _read_wide(
        path,
        lambda values: (values >= 0) & (values <= 1),
        "values are no probabilities",
        "Every value must be a number in [0, 1].",
    )
    _refuse(conflicts, path)
    return table


def write_long_csv(
    path: str | Path, ids: Sequence[str], values: np.ndarray, column: str = HEADER[1]
) -> None:
    """Writes a table as a CSV file, six rows an image, in the order of the challenge.

    Args:
      path: CSV file to write.
      ids: Image ids, n of them.
      values: Labels or probabilities [n, 6], columns in the order of `CLASSES`.
      column: Name of the second column.

    Raises:
      ValueError: If `values` has another shape.
    """
    import pandas as pd

    values = np.asarray(values)
    if values.shape != (len(ids), len(CLASSES)):
        raise ValueError(
            f"values has shape {values.shape}; {len(ids)} ids need ({len(ids)}, {len(CLASSES)})."
        )
    names = [f"{image_id}_{name}" for image_id in ids for name in CLASSES]
    frame = pd.DataFrame({HEADER[0]: names, column: values.reshape(-1)})
    frame.to_csv(path, index=False, lineterminator="\n")


def _read_chunks(path: str | Path) -> Iterator[pd.DataFrame]:
    """Yields rows as strings, in chunks: as one table the rows of RSNA's CSV take 2 GB."""
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise LabelError(
            f"{path}: no such file. Expected a CSV with the header ID,Label and six rows an image."
        )
    try:
        # utf-8-sig: spreadsheet programs write a byte order mark.
        with pd.read_csv(
            path, dtype=str, encoding="utf-8-sig", keep_default_na=False, chunksize=_CHUNK_ROWS
        ) as chunks:
            for number, chunk in enumerate(chunks):
                if tuple(chunk.columns) != HEADER:
                    raise LabelError(
                        f"{path}: the header is {','.join(map(str, chunk.columns))!r}; expected "
                        f"{','.join(HEADER)!r}. Rename or drop columns so that only these two "
                        "remain."
                    )
                if chunk.empty and not number:
                    raise LabelError(
                        f"{path}: has no rows below its header; expected six an image."
                    )
                yield chunk
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise LabelError(
            f"{path}: not readable as CSV ({error}). Expected the header ID,Label."
        ) from error


def _refuse(conflicts: dict[str, str], path: str | Path) -> None:
    if conflicts:
        image_id, problem = next(iter(conflicts.items()))
        raise LabelError(
            f"{path}: {len(conflicts)} images have rows that are incomplete or contradict each "
            f"other, the first {image_id}: {problem}. Correct those rows."
        )


def _read_wide(
    path: str | Path, is_valid: Callable[[np.ndarray], np.ndarray], complaint: str, advice: str
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Reads a long CSV into a table with a row an image.

    Args:
      path: CSV file.
      is_valid: Function that marks the valid ones among values, float64 [n] -> bool [n].
      complaint: Predicate of an error about invalid values, such as `labels are neither 0 nor 1`.
      advice: Sentence that ends this error: what to do.

    Returns:
      Table, float64 [images, 6], of the images with one value for each class; and a dict of the
      other images: image id -> problem.
    """
    import pandas as pd

    numbers: dict[str, int] = {}
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    unknown, invalid = _Faults(), _Faults()
    for chunk in _read_chunks(path):
        ids, texts = chunk["ID"], chunk["Label"]
        parts = ids.str.rsplit("_", n=1, expand=True).reindex(columns=[0, 1])
        columns = pd.Categorical(parts[1], categories=list(CLASSES)).codes
        values = _as_numbers(texts)
        unknown.add(ids[columns < 0])
        invalid.add((ids + " with " + texts)[~is_valid(values)])
        codes, images = pd.factorize(parts[0])
        rows = [numbers.setdefault(image, len(numbers)) for image in images]
        pieces.append((np.asarray(rows, np.int32)[codes], columns, values))
    if invalid.count:
        raise LabelError(
            f"{path}: {invalid.count} {complaint}, the first {invalid.first!r}. {advice}"
        )
    if unknown.count:
        raise LabelError(
            f"{path}: {unknown.count} ids do not end in a class, the first {unknown.first!r}. "
            f"Expected <image>_<class> with one of {', '.join(CLASSES)}."
        )
    # Rows may repeat if they agree: stage_2_train.csv has 24 duplicates.
    lowest = np.full((len(numbers), len(CLASSES)), np.inf)
    highest = -lowest
    for image_rows, columns, values in pieces:
        np.minimum.at(lowest, (image_rows, columns), values)
        np.maximum.at(highest, (image_rows, columns), values)
    names = np.array(list(numbers), dtype=object)
    conflicts: dict[str, str] = {}
    for i, j in np.argwhere(lowest != highest):
        # A class without a row keeps its infinities.
        problem = (
            "its rows for {} disagree" if np.isfinite(lowest[i, j]) else "it has no row for {}"
        )
        conflicts.setdefault(names[i], problem.format(CLASSES[j]))
    is_whole = np.all(lowest == highest, axis=1)
    index = pd.Index(names[is_whole], name="image_id")
    return pd.DataFrame(lowest[is_whole], index=index, columns=list(CLASSES)), conflicts


class _Faults:
    """Faulty rows of a file.

    Attributes:
      count: Number of faulty rows.
      first: Text of the first one; empty if there is none.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, rows: pd.Series) -> None:
        """Counts faulty rows, given as text."""
        if len(rows) and not self.count:
            self.first = rows.iloc[0]
        self.count += len(rows)


def _as_numbers(texts: pd.Series) -> np.ndarray:
    """Texts as float64, NaN for no number, parsed by Python: pandas may lose the last digit."""
    try:
        return np.asarray(texts.to_numpy(dtype=object).astype(np.float64))
    except ValueError:
        return np.array([_as_number(text) for text in texts])


def _as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
