"""Label tables: images by classes, read from CSV files and written to them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ich_tf.labels.cells import collect_cells
from ich_tf.labels.classes import ANY, CLASSES, HEADER, SUBTYPES, LabelError
from ich_tf.labels.rows import read_chunks
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
      table: Label table of the images with valid labels, int64 [images, 6].
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
    labels = read_label_table(path)
    return labels.table, labels.conflicts


def read_label_table(path: str | Path) -> LabelTable:
    """Reads a label CSV with the lines of its images; see `read_labels_and_conflicts`.

    Raises:
      LabelError: If the file cannot be read, its header differs, or a label is not 0 or 1.
    """
    read = _read(
        path,
        lambda values: (values == 0) | (values == 1),
        "labels are neither 0 nor 1",
        "Labels mark absence (0) or presence (1): correct those rows.",
        fill_any=True,
    )
    table = read.table.astype("int64")
    subtypes = table[list(SUBTYPES)].to_numpy().max(axis=1, initial=0)
    is_wrong = subtypes > table["any"].to_numpy()
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
    names = [f"{image_id}_{name}" for image_id in ids for name in CLASSES]
    frame = pd.DataFrame({HEADER[0]: names, column: values.reshape(-1)})
    with writing(path):
        frame.to_csv(path, index=False, lineterminator="\n")


def _refuse(conflicts: dict[str, str], path: str | Path) -> None:
    if conflicts:
        image_id, problem = next(iter(conflicts.items()))
        raise LabelError(
            f"{path}: {len(conflicts)} images have rows that are incomplete or contradict each "
            f"other, the first {image_id}: {problem}. Correct those rows."
        )


def _read(
    path: str | Path,
    is_valid: Callable[[np.ndarray], np.ndarray],
    complaint: str,
    advice: str,
    *,
    fill_any: bool = False,
) -> LabelTable:
    """Reads a label CSV into a table with a row an image.

    Args:
      path: CSV file.
      is_valid: Function that marks the valid ones among values, float64 [n] -> bool [n].
      complaint: Predicate of an error about invalid values, such as `labels are neither 0 nor 1`.
      advice: Sentence that ends this error: what to do.
      fill_any: Whether `any` may be left out everywhere; it is the maximum of the others then.

    Returns:
      Table, float64 [images, 6], of the images with one value for each class; the other images
      with their problem; and the lines of both.
    """
    import pandas as pd

    cells = collect_cells(path, read_chunks(path), is_valid, complaint, advice)
    names, lowest, highest = cells.names, cells.lowest, cells.highest
    if fill_any and np.isinf(lowest[:, ANY]).all():
        _LOG.info("%s: has no labels for any, which is taken as the maximum of the others", path)
        for bound in (lowest, highest):
            bound[:, ANY] = bound[:, :ANY].max(axis=1)
    conflicts: dict[str, str] = {}
    for i, j in np.argwhere(lowest != highest):
        # A class without a row keeps its infinities.
        problem = (
            "its rows for {} disagree" if np.isfinite(lowest[i, j]) else "it has no row for {}"
        )
        conflicts.setdefault(names[i], problem.format(CLASSES[j]))
    is_whole = np.all(lowest == highest, axis=1)
    index = pd.Index(names[is_whole], name="image_id")
    table = pd.DataFrame(lowest[is_whole], index=index, columns=list(CLASSES))
    lines = np.concatenate([cells.lines[is_whole], cells.lines[~is_whole]])
    return LabelTable(table, conflicts, lines)
