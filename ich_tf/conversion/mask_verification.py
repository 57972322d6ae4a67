"""Comparison of a record's mask with what is planned."""

from __future__ import annotations

import math
from collections.abc import Container

import numpy as np

from ich_tf.conversion.plan import PlannedSlice
from ich_tf.labels import CLASSES
from ich_tf.records.mask_images import read_mask
from ich_tf.records.schema import CorruptRecordError, SliceRecord


def mask_differences(
    record: SliceRecord, planned: PlannedSlice, unread: Container[str]
) -> list[str]:
    """Names of the fields of a record's mask that differ from the plan, or from each other.

    Args:
      record: Record of a conversion with masks.
      planned: Planned slice.
      unread: Masks that could not be read when the shard was written.
    """
    wrong = []
    is_whole = not any(name in unread for name, *_ in planned.masks)
    if record.annotated & ~planned.annotated or (
        is_whole and record.annotated != planned.annotated
    ):
        wrong.append("annotated")
    known = [bool(record.annotated >> k & 1) for k in range(len(CLASSES))]
    areas = record.lesion_mm2
    if len(areas) != len(CLASSES) or [not math.isnan(area) for area in areas] != known:
        wrong.append("lesion_mm2")
    if record.mask:
        try:
            bits = read_mask(record)
        except CorruptRecordError:
            return [*wrong, "mask"]
        present = int(np.bitwise_or.reduce(bits, axis=None))
        if not present or present & ~record.annotated:
            wrong.append("mask")
    return wrong
