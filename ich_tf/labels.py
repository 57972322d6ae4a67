"""The six classes of the RSNA 2019 challenge and its CSV files.

A label table is a pandas DataFrame with one row an image: its index is the image id
(`ID_xxxxxxxxx`), its columns are `CLASSES`. The CSVs are long: one row for each image and
class, `ID_xxxxxxxxx_epidural,0`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ich_tf.errors import InputError

if TYPE_CHECKING:
    # Imported where it is used: pandas takes 0.3 s to load, and ich_tf.metrics and --help
    # want no more than the names of the classes.
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

# In the order of the CSVs' rows.
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
# The challenge counts `any` twice.
WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 2.0)

HEADER = ("ID", "Label")
_CHUNK_ROWS = 24_000


class LabelError(InputError):
    """A label or submission CSV that cannot be read as six rows an image."""


def read_labels(path: str | Path) -> pd.DataFrame:
    """Reads a label CSV into a label table.

    Exact duplicate rows, of which stage_2_train.csv has 24, are dropped by value.

    Args:
      path: A CSV with the header `ID,Label` and six rows an image, in any order.

    Returns:
      A DataFrame, int64 [images, 6], indexed by image id in order of first appearance.

    Raises:
      LabelError: If the file cannot be read, its header differs, a label is not 0 or 1,
        two rows for one id disagree, a class is missing, or `any` is 0 beside a subtype 1.

    Example:
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
    """Reads a label CSV of which some images may have labels that cannot be true.

    Args:
      path: As of `read_labels`.

    Returns:
      The label table of the sound images; and of the others image id -> what is wrong.

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
    """Reads a submission CSV into a table of probabilities, float64 [images, 6].

    Raises:
      LabelError: As `read_labels`; also for values that are NaN or outside [0, 1].
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
    """Writes a table as `ID,Label`, six rows an image, in the challenge's order.

    Args:
      path: The file to write.
      ids: Image ids, n of them.
      values: [n, 6] labels or probabilities, columns in the order of `CLASSES`.
      column: The second column's name.
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
    """The rows as strings, some at a time: as one table RSNA's take two gigabytes."""
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise LabelError(
            f"{path}: no such file. Expected a CSV with the header ID,Label and six rows an image."
        )
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
        with pd.read_csv(
            path, dtype=str, encoding="utf-8-sig", keep_default_na=False, chunksize=_CHUNK_ROWS
        ) as chunks:
            for number, chunk in enumerate(chunks):
                if tuple(chunk.columns) != HEADER:
                    raise LabelError(
                        f"{path}: the header is {','.join(map(str, chunk.columns))!r}; expected "
                        f"{','.join(HEADER)!r}. Rename or drop columns so that just these two "
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
        image_id, what = next(iter(conflicts.items()))
        raise LabelError(
            f"{path}: {len(conflicts)} images have rows that are incomplete or contradict each "
            f"other, the first {image_id}: {what}. Correct those rows."
        )


def _read_wide(
    path: str | Path, is_good: Callable[[np.ndarray], np.ndarray], wrong: str, advice: str
) -> tuple[pd.DataFrame, dict[str, str]]:
    """A row an image, float64; and image id -> what is wrong, of images that give no whole row.

    Args:
      path: The CSV.
      is_good: Which values may stand in it.
      wrong: What the others are.
      advice: What to do about them.
    """
    import pandas as pd

    numbers: dict[str, int] = {}
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    unknown, bad = _Faults(), _Faults()
    for chunk in _read_chunks(path):
        ids, texts = chunk["ID"], chunk["Label"]
        parts = ids.str.rsplit("_", n=1, expand=True).reindex(columns=[0, 1])
        columns = pd.Categorical(parts[1], categories=list(CLASSES)).codes
        values = _as_numbers(texts)
        unknown.add(ids[columns < 0])
        bad.add((ids + " with " + texts)[~is_good(values)])
        codes, images = pd.factorize(parts[0])
        known = [numbers.setdefault(image, len(numbers)) for image in images]
        pieces.append((np.asarray(known, np.int32)[codes], columns, values))
    if bad.count:
        raise LabelError(f"{path}: {bad.count} {wrong}, the first {bad.first!r}. {advice}")
    if unknown.count:
        raise LabelError(
            f"{path}: {unknown.count} ids do not end in a class, the first {unknown.first!r}. "
            f"Expected <image>_<class> with one of {', '.join(CLASSES)}."
        )
    # An image's rows may repeat, if they agree: stage_2_train.csv has some twice.
    lowest = np.full((len(numbers), len(CLASSES)), np.inf)
    highest = -lowest
    for rows, columns, values in pieces:
        np.minimum.at(lowest, (rows, columns), values)
        np.maximum.at(highest, (rows, columns), values)
    names = np.array(list(numbers), dtype=object)
    conflicts: dict[str, str] = {}
    for i, j in np.argwhere(lowest != highest):
        # Where there is no row, infinities are left.
        what = "its rows for {} disagree" if np.isfinite(lowest[i, j]) else "it has no row for {}"
        conflicts.setdefault(names[i], what.format(CLASSES[j]))
    good = np.all(lowest == highest, axis=1)
    index = pd.Index(names[good], name="image_id")
    return pd.DataFrame(lowest[good], index=index, columns=list(CLASSES)), conflicts


class _Faults:
    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, found: pd.Series) -> None:
        if len(found) and not self.count:
            self.first = found.iloc[0]
        self.count += len(found)


def _as_numbers(texts: pd.Series) -> np.ndarray:
    """Float64, NaN for what is no number. Python reads every digit; pandas may lose the last."""
    try:
        return np.asarray(texts.to_numpy(dtype=object).astype(np.float64))
    except ValueError:
        return np.array([_as_number(text) for text in texts])


def _as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
