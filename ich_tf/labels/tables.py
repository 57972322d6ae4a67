"""Label tables: images by classes, read from CSV files and written to them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ich_tf.labels.cells import collect_cells
from ich_tf.labels.classes import ANY, CLASSES, HEADER, LabelError
from ich_tf.labels.columns import find_columns
from ich_tf.labels.rows import read_chunks
from ich_tf.labels.unknown import complete
from ich_tf.runtime.csv_cells import text_cell
from ich_tf.runtime.names import shortened
from ich_tf.runtime.writing import writing

if TYPE_CHECKING:
    # Imported on use: pandas takes 0.3 s to load, and ich_tf.metrics and --help need only the
    # names of the classes.
    import pandas as pd

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelTable:
    """Labels of images, as a CSV has them.

    Attributes:
      table: Label table of the images with valid labels, int64 [images, 6]; float64 with NaN if
        some of them are unknown.
      conflicts: What is wrong with the labels of each other image, by its id.
      lines: Line of the first row of each image, by its id: those of `table`, then the others, in
        their order, int32.
    """

    table: pd.DataFrame
    conflicts: dict[str, str]
    lines: np.ndarray


def read_labels(path: str | Path) -> pd.DataFrame:
    """Reads a label CSV into a label table.

    Duplicate rows with equal values are dropped; stage_2_train.csv has 24.

    Args:
      path: CSV file with the header `ID,Label` and six rows an image, in any order.

    Returns:
      A DataFrame, int64 [images, 6], indexed by image id in order of first appearance.

    Raises:
      LabelError: If the file cannot be read, its header differs, a label is not 0 or 1 (an unknown
        one neither, which `read_label_table` reads), two rows of an id disagree, a class is
        missing, or `any` is 0 where a subtype is 1.

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
    labels = _label_table(path, may_be_unknown=False)
    return labels.table, labels.conflicts


def read_label_table(path: str | Path) -> LabelTable:
    """Reads a label CSV with the lines of its images, in which labels may be unknown.

    An unknown label is left empty, or is -1, NaN or `unknown`. A file may also tell of `any` alone:
    the subtypes of images with a bleed are then unknown.

    Raises:
      LabelError: If the file cannot be read, its header differs, a label is neither 0 nor 1 nor
        unknown, or all are unknown.
    """
    return _label_table(path, may_be_unknown=True)


def _label_table(path: str | Path, *, may_be_unknown: bool) -> LabelTable:
    unknown = " An unknown one is left empty, or written as -1 or NaN." if may_be_unknown else ""
    read = _read(
        path,
        lambda values: (values == 0) | (values == 1),
        "labels are neither 0 nor 1",
        f"Labels mark absence (0) or presence (1): correct those rows.{unknown}",
        fill_any=True,
        may_be_unknown=may_be_unknown,
    )
    table = read.table
    values = table.to_numpy()
    is_unknown = np.isnan(values)
    if not is_unknown.any():
        table = table.astype("int64")
    elif is_unknown.all():
        raise LabelError(
            f"{path}: all labels of its {len(table)} images are unknown; expected 0 or 1 for some "
            "class of some image. Fill in what is known."
        )
    else:
        _LOG.info("%s: %d of %d labels are unknown", path, is_unknown.sum(), is_unknown.size)
    is_wrong = (values[:, :ANY] > values[:, ANY:]).any(axis=1)  # no comparison with NaN is true
    wrong = dict.fromkeys(table.index[is_wrong], "a subtype is 1 with any = 0")
    lines, others = np.split(read.lines, [len(table)])
    return LabelTable(
        table[~is_wrong],
        {**read.conflicts, **wrong},
        np.concatenate([lines[~is_wrong], others, lines[is_wrong]]),
    )


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
    read = _read(
        path,
        lambda values: (values >= 0) & (values <= 1),
        "values are no probabilities",
        "Every value must be a number in [0, 1].",
    )
    _refuse(read.conflicts, path)
    return read.table


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
    names = [text_cell(f"{image_id}_{name}") for image_id in ids for name in CLASSES]
    frame = pd.DataFrame({HEADER[0]: names, column: values.reshape(-1)})
    with writing(path):
        frame.to_csv(path, index=False, lineterminator="\n")


def _refuse(conflicts: dict[str, str], path: str | Path) -> None:
    if conflicts:
        image_id, problem = next(iter(conflicts.items()))
        raise LabelError(
            f"{path}: {len(conflicts)} images have rows that are incomplete or contradict each "
            f"other, the first {shortened(image_id)}: {problem}. Correct those rows."
        )


def _read(
    path: str | Path,
    is_valid: Callable[[np.ndarray], np.ndarray],
    complaint: str,
    advice: str,
    *,
    fill_any: bool = False,
    may_be_unknown: bool = False,
) -> LabelTable:
    """Reads a label CSV into a table with a row an image.

    Args:
      path: CSV file.
      is_valid: Function that marks the valid ones among values, float64 [n] -> bool [n].
      complaint: Predicate of an error about invalid values, such as `labels are neither 0 nor 1`.
      advice: Sentence that ends this error: what to do.
      fill_any: Whether `any` may be left out everywhere; it is the maximum of the others then.
      may_be_unknown: Whether values may be unknown, and the subtypes be left out everywhere.

    Returns:
      Table, float64 [images, 6], of the images with one value for each class, NaN where it is
      unknown; the other images with their problem; and the lines of both.
    """
    import pandas as pd

    cells = collect_cells(
        path,
        read_chunks(path, partial(find_columns, any_alone=may_be_unknown)),
        is_valid,
        complaint,
        advice,
        may_be_unknown=may_be_unknown,
    )
    is_known = np.isfinite(cells.lowest)
    is_told = is_known | cells.unknown
    tells_any, tells_subtypes = is_told[:, ANY].any(), is_told[:, :ANY].any()
    if fill_any and not tells_any:
        _LOG.info("%s: has no labels for any, which is taken as the maximum of the others", path)
        is_told[:, ANY] = True
    if may_be_unknown and not tells_subtypes:
        _LOG.info("%s: has labels for any alone; the subtypes of a bleed are unknown", path)
        is_told[:, :ANY] = True
    conflicts: dict[str, str] = {}
    is_single = is_told & (~is_known | (cells.lowest == cells.highest))
    for i, j in np.argwhere(~is_single):
        problem = "its rows for {} disagree" if is_known[i, j] else "it has no row for {}"
        conflicts.setdefault(cells.names[i], problem.format(CLASSES[j]))
    is_whole = np.all(is_single, axis=1)
    values = cells.lowest[is_whole]
    values[~is_known[is_whole]] = np.nan
    if np.isnan(values).any():
        values = complete(values, is_any_told=bool(tells_any))
    index = pd.Index(cells.names[is_whole], name="image_id")
    table = pd.DataFrame(values, index=index, columns=list(CLASSES))
    lines = np.concatenate([cells.lines[is_whole], cells.lines[~is_whole]])
    return LabelTable(table, conflicts, lines)
