"""What a mask and a slice's labels tell together: which classes are annotated, what contradicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ich_tf.labels import ANY, CLASSES

_ANY = 1 << ANY
_SUBTYPES = sum(1 << k for k in range(len(CLASSES)) if k != ANY)


@dataclass(frozen=True, slots=True)
class SliceMask:
    """What the masks of a slice tell.

    Attributes:
      files: Name and SHA-256 of each file.
      annotated: Bits of the classes that they tell of.
      marked: Bits of the classes that have pixels in the slice.
    """

    files: tuple[tuple[str, str], ...] = ()
    annotated: int = 0
    marked: int = 0

    def __or__(self, other: SliceMask) -> SliceMask:
        """Both masks of one slice: a class has the pixels of either."""
        return SliceMask(
            (*self.files, *(file for file in other.files if file not in self.files)),
            self.annotated | other.annotated,
            self.marked | other.marked,
        )


def of_slab(masks: Sequence[SliceMask]) -> SliceMask:
    """What is told of a slab: of a class only where all of its slices are annotated."""
    slab = SliceMask(annotated=_ANY | _SUBTYPES)
    for mask in masks:
        annotated = slab.annotated & mask.annotated
        slab |= mask
        slab = SliceMask(slab.files, annotated, slab.marked)
    return slab


def annotated_classes(
    mask: SliceMask, labels: Sequence[int | None] | None
) -> tuple[int, tuple[int, ...]]:
    """Classes of a slice of which it is known where they are, and where they are not.

    A class that is labelled 0 is nowhere in the slice; `any` is the union of its subtypes. Where a
    label and an annotated mask contradict each other, the class counts as not annotated.

    Args:
      mask: What the masks tell.
      labels: 0 or 1 per class, in the order of `CLASSES`, or None where unknown; None without
        labels.

    Returns:
      Bits of the annotated classes, and the classes whose label and mask contradict each other.

    Examples:
      >>> annotated_classes(SliceMask(), (0, 1, 0, 0, 0, 1))  # no mask: its negative classes
      (29, ())
      >>> annotated_classes(SliceMask(annotated=63, marked=34), (0, 1, 0, 0, 0, 1))
      (63, ())
      >>> annotated_classes(SliceMask(annotated=63, marked=2), (0, 0, 0, 0, 0, 0))
      (29, (1, 5))
      >>> annotated_classes(SliceMask(), (0, None, None, 0, None, 1))  # unknown is not absent
      (9, ())
    """
    marked = mask.marked | (_ANY if mask.marked & _SUBTYPES else 0)
    annotated = _with_consequences(mask.annotated, marked)
    if labels is None:
        return annotated, ()
    conflicts = []
    for k, label in enumerate(labels):
        bit = 1 << k
        if label is None:
            continue
        if bool(marked & bit) != bool(label) and (annotated | marked) & bit:
            conflicts.append(k)
        elif not label:
            annotated |= bit
    doubtful = sum(1 << k for k in conflicts)
    return _with_consequences(annotated, marked) & ~doubtful, tuple(conflicts)


def _with_consequences(annotated: int, marked: int) -> int:
    """Annotated classes with those that follow: `any` from all subtypes, nothing from no `any`."""
    if annotated & _SUBTYPES == _SUBTYPES:
        annotated |= _ANY
    if annotated & _ANY and not marked & _ANY:
        annotated |= _SUBTYPES
    return annotated
