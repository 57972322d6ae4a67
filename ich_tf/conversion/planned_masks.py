"""Masks of a plan: what is annotated in each planned slice, and the masks that are not used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ich_tf.conversion.label_rows import Labels, union_of_labels
from ich_tf.conversion.mask_files import mask_rejection
from ich_tf.conversion.mask_index import MaskIndex
from ich_tf.conversion.mask_labels import SliceMask, annotated_classes, of_slab
from ich_tf.conversion.slice_index import IndexedSlice
from ich_tf.dicom.reasons import Rejection
from ich_tf.labels import CLASSES
from ich_tf.masks.errors import MaskError, MaskReason


class PlannedMasks:
    """Joins masks and labels slice by slice, and keeps account of contradictions."""

    def __init__(self, index: MaskIndex) -> None:
        """Has planned no slice yet.

        Args:
          index: Masks of the slices.
        """
        self._index = index
        self._conflicts: list[Rejection] = []

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """Masks that are not used, then those that contradict labels."""
        return (*self._index.rejections, *self._conflicts)

    def of(self, members: Sequence[IndexedSlice]) -> dict[str, Any]:
        """The fields `annotated` and `masks` of a planned slice.

        Args:
          members: The slice, or the slices of a slab.
        """
        masks = [self._index.of(slice_) for slice_ in members]
        mask = masks[0] if len(masks) == 1 else of_slab(masks)
        labels = union_of_labels([slice_.labels for slice_ in members])
        annotated, conflicts = annotated_classes(mask, labels)
        if conflicts and labels is not None:
            self._conflicts.append(_conflict(members[len(members) // 2], mask, labels, conflicts))
        part = {file: i for i in reversed(range(len(masks))) for file in masks[i].files}
        return {"annotated": annotated, "masks": tuple((*file, part[file]) for file in mask.files)}


def _conflict(
    slice_: IndexedSlice, mask: SliceMask, labels: Labels, conflicts: Sequence[int]
) -> Rejection:
    """Line of quarantine.jsonl for labels and mask that contradict each other."""
    unmarked = [CLASSES[k] for k in conflicts if labels[k]]
    marked = [CLASSES[k] for k in conflicts if not labels[k]]
    parts = [f"labelled 0 and marked: {', '.join(marked)}"] if marked else []
    parts += [f"labelled 1 and not marked: {', '.join(unmarked)}"] if unmarked else []
    message = f"in {slice_.path}, {'; '.join(parts)}. Not annotated there."
    return mask_rejection(mask.files[0][0], MaskError(MaskReason.MASK_CONFLICT, message))
