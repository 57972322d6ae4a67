"""Keys of labels of exams that name nothing, beside series without a label."""

from __future__ import annotations

import itertools

from ich_tf.conversion.slice_index import SliceIndex
from ich_tf.runtime.names import printable

_EXAMPLES = 10
_HEADS = ("label CSV", "folder", "patient", "study", "series")


def exams_side_by_side(indexed: SliceIndex) -> str:
    """Shows ten keys and ten series that do not join.

    Args:
      indexed: Index of a conversion.

    Returns:
      Several lines of text; empty if there are no labels of exams, or none is left over.
    """
    exams = indexed.exams
    if exams is None or not (exams.unused_rows or indexed.without_labels):
        return ""
    keys = [printable(exams.rows.keys[row]) for row in exams.unused_rows[:_EXAMPLES]]
    series = [(exams.folders.get(key, ""), *key) for key in indexed.without_labels[:_EXAMPLES]]
    rows: list[tuple[str, ...]] = [_HEADS]
    for key, names in itertools.zip_longest(keys, series, fillvalue=None):
        rows.append((key or "", *map(printable, names or ("",) * 4)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = [
        f"exams of the {exams.rows.file} that name nothing: {len(exams.unused_rows)}, series "
        f"without a label: {len(indexed.without_labels)}; the first of each:"
    ]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        lines.append(f"  {'  '.join(cells)}".rstrip())
    return "\n".join(lines)
