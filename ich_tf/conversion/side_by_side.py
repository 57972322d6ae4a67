"""Labels and files that do not join, side by side, and the rule by which they would."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ich_tf.conversion.exam_side_by_side import exams_side_by_side
from ich_tf.conversion.joining_rules import UnlabelledSlice, joining_rules
from ich_tf.conversion.slice_index import SliceIndex
from ich_tf.runtime.names import printable

_EXAMPLES = 10
# A rule that joins fewer of the smaller side may join them by chance.
_LEAST_SHARE = 0.25


def side_by_side(indexed: SliceIndex, label_key: str) -> str:
    """Shows ten labels and ten files, or exams, that do not join, and says what would join them.

    Args:
      indexed: Index of a conversion with labels.
      label_key: What a row of the label CSV names an image by, one of `config.LABEL_KEYS`.

    Returns:
      Several lines of text; empty if no label, file or exam is left over.
    """
    texts = _slices_side_by_side(indexed, label_key), exams_side_by_side(indexed)
    return "\n".join(filter(None, texts))


def _slices_side_by_side(indexed: SliceIndex, label_key: str) -> str:
    """As `side_by_side`, of labels of slices."""
    ids = indexed.unused_ids
    slices = [
        UnlabelledSlice(
            slice_.name,
            slice_.header.image_id,
            f"/{slice_.header.frame}" if slice_.header.frame else "",
        )
        for slice_ in indexed.unlabelled()
    ]
    if not ids and not slices:
        return ""
    rows = [("label CSV", "file", "SOP instance UID")]
    rows += itertools.zip_longest(
        map(printable, ids[:_EXAMPLES]),
        (printable(slice_.path + slice_.suffix) for slice_ in slices[:_EXAMPLES]),
        (slice_.uid for slice_ in slices[:_EXAMPLES]),
        fillvalue="",
    )
    first, second = (max(len(row[column]) for row in rows) for column in range(2))
    lines = [
        f"images of the label CSV without a file: {len(ids)}, slices without a label: "
        f"{len(slices)}; the first of each:",
        *(f"  {a:<{first}}  {b:<{second}}  {c}".rstrip() for a, b, c in rows),
    ]
    if ids and slices:
        lines.append(joining_rule(ids, slices, label_key))
    return "\n".join(lines)


def joining_rule(ids: Sequence[str], slices: Sequence[UnlabelledSlice], label_key: str) -> str:
    """Sentence on the rule that joins most of the ids and slices."""
    most, words = 0, ""
    smaller = min(len(ids), len(slices))
    for count, words_of_rule in joining_rules(ids, slices, label_key):
        if count > most:
            most, words = count, words_of_rule
        if most == smaller:
            break
    if most < max(1, _LEAST_SHARE * smaller):
        return (
            "None of the rules that were tried joins them: another --label_key; another extension "
            "or folder; upper and lower case; leading zeros; _ for -; something before or after "
            "the ids."
        )
    return f"{f'{most} of them' if most < smaller else 'They'} would join {words}."
