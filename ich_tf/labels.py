"""The six classes of the RSNA 2019 challenge and its CSV files.

A label table is a pandas DataFrame with one row an image: its index is the image id
(`ID_xxxxxxxxx`), its columns are `CLASSES`. The CSVs are long: one row for each image and
class, `ID_xxxxxxxxx_epidural,0`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ich_tf.errors import InputError

if TYPE_CHECKING:
    # Imported where it is used: pandas takes 0.3 s to load, and ich_tf.metrics and --help
    # want no more than the names of the classes.
    import pandas as pd

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
    import pandas as pd

    long = _read_long(path)
    values = pd.to_numeric(long["Label"], errors="coerce")
    bad = ~values.isin((0, 1))
    if bad.any():
        row = long[bad].iloc[0]
        raise LabelError(
            f"{path}: {int(bad.sum())} labels are neither 0 nor 1, the first {row['ID']!r} with "
            f"{row['Label']!r}. Labels mark absence (0) or presence (1): correct those rows."
        )
    wide, conflicts = _widen(long.assign(Label=values.astype("int64")), path)
    any_label = wide["any"].to_numpy()
    subtypes = wide[list(SUBTYPES)].to_numpy().max(axis=1, initial=0)
    contradictory = wide.index[subtypes > any_label]
    conflicts.update(dict.fromkeys(contradictory, "a subtype is 1 with any = 0"))
    return wide.drop(index=contradictory), conflicts


def read_submission(path: str | Path) -> pd.DataFrame:
    """Reads a submission CSV into a table of probabilities, float64 [images, 6].

    Raises:
      LabelError: As `read_labels`; also for values that are NaN or outside [0, 1].
    """
    long = _read_long(path)
    try:
        # Python's float reads every digit; pandas' parser may lose the last.
        values = long["Label"].map(float)
    except ValueError as error:
        raise LabelError(f"{path}: {error}. Every value must be a number in [0, 1].") from error
    bad = ~values.between(0.0, 1.0)
    if bad.any():
        row = long[bad].iloc[0]
        raise LabelError(
            f"{path}: {int(bad.sum())} values are no probabilities, the first {row['ID']!r} with "
            f"{row['Label']!r}. Every value must lie in [0, 1]."
        )
    table, conflicts = _widen(long.assign(Label=values), path)
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


def _read_long(path: str | Path) -> pd.DataFrame:
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise LabelError(
            f"{path}: no such file. Expected a CSV with the header ID,Label and six rows an image."
        )
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
        long = pd.read_csv(path, dtype=str, encoding="utf-8-sig", keep_default_na=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise LabelError(
            f"{path}: not readable as CSV ({error}). Expected the header ID,Label."
        ) from error
    if tuple(long.columns) != HEADER:
        raise LabelError(
            f"{path}: the header is {','.join(map(str, long.columns))!r}; expected "
            f"{','.join(HEADER)!r}. Rename or drop columns so that just these two remain."
        )
    if long.empty:
        raise LabelError(f"{path}: has no rows below its header; expected six an image.")
    return long


def _refuse(conflicts: dict[str, str], path: str | Path) -> None:
    if conflicts:
        image_id, what = next(iter(conflicts.items()))
        raise LabelError(
            f"{path}: {len(conflicts)} images have rows that are incomplete or contradict each "
            f"other, the first {image_id}: {what}. Correct those rows."
        )


def _widen(long: pd.DataFrame, path: str | Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """A row an image; and image id -> what is wrong, of images that give no whole row."""
    import pandas as pd

    long = long.drop_duplicates()
    parts = long["ID"].str.rsplit("_", n=1, expand=True).reindex(columns=[0, 1])
    unknown = ~parts[1].isin(CLASSES)
    if unknown.any():
        raise LabelError(
            f"{path}: {int(unknown.sum())} ids do not end in a class, the first "
            f"{long['ID'][unknown].iloc[0]!r}. Expected <image>_<class> with one of "
            f"{', '.join(CLASSES)}."
        )
    codes, images = pd.factorize(parts[0])
    columns = pd.Categorical(parts[1], categories=list(CLASSES)).codes
    present = np.zeros((len(images), len(CLASSES)), dtype=bool)
    present[codes, columns] = True
    table = np.zeros(present.shape, long["Label"].to_numpy().dtype)
    table[codes, columns] = long["Label"].to_numpy()
    repeated = long["ID"].duplicated().to_numpy()
    conflicts = {
        images[i]: f"its rows for {CLASSES[j]} disagree"
        for i, j in zip(codes[repeated], columns[repeated], strict=True)
    }
    for i, j in np.argwhere(~present):
        conflicts.setdefault(images[i], f"it has no row for {CLASSES[j]}")
    wide = pd.DataFrame(table, index=pd.Index(images, name="image_id"), columns=list(CLASSES))
    return wide.drop(index=list(conflicts)), conflicts
