"""Statistics of labels that may be unknown: of stored slices, and of their exams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ich_tf.labels import CLASSES
from ich_tf.labels.classes import POSITIVE_SHARE

_ZEROS = (0,) * len(CLASSES)


@dataclass(frozen=True)
class ExamStatistics:
    """Sums over any number of slices and of their exams; of integers, so that order is irrelevant.

    Attributes:
      slices_labelled: Number of slices of which the label of any class is known.
      slices_known: Number of slices whose label is known, per class, in the order of `CLASSES`.
      levels: Number of exams by the level of their labels; under the empty name those without.
      known: Number of exams whose label is known, per class.
      positive: Number of exams that have the class, or half of their readers say so, per class.
    """

    slices_labelled: int = 0
    slices_known: tuple[int, ...] = _ZEROS
    levels: Mapping[str, int] = field(default_factory=dict)
    known: tuple[int, ...] = _ZEROS
    positive: tuple[int, ...] = _ZEROS

    @classmethod
    def of_slice(cls, labels: Sequence[int | None] | None) -> ExamStatistics:
        """Statistics of one slice, without its exam.

        Args:
          labels: 0 or 1 per class, or None where unknown; None if all are.
        """
        known = tuple(int(label is not None) for label in labels or (None,) * len(CLASSES))
        return cls(slices_labelled=int(any(known)), slices_known=known)

    @classmethod
    def of_exam(cls, labels: Sequence[float | None], level: str) -> ExamStatistics:
        """Statistics of one exam, without its slices.

        Args:
          labels: Labels in [0, 1], or None where unknown.
          level: Level of the labels; empty if all are unknown.

        Examples:
          >>> ExamStatistics.of_exam((0, None, 0.4, 0, 0.5, 1), "study").positive
          (0, 0, 0, 0, 1, 1)
        """
        return cls(
            levels={level: 1},
            known=tuple(int(label is not None) for label in labels),
            positive=tuple(int(label is not None and label >= POSITIVE_SHARE) for label in labels),
        )

    @classmethod
    def total(cls, parts: Iterable[ExamStatistics]) -> ExamStatistics:
        """Statistics of several parts, which are consumed one at a time."""
        labelled, levels = 0, Counter[str]()
        sums = {name: list(_ZEROS) for name in ("slices_known", "known", "positive")}
        for part in parts:
            labelled += part.slices_labelled
            levels.update(part.levels)
            for name, total in sums.items():
                for k, count in enumerate(getattr(part, name)):
                    total[k] += count
        return cls(
            slices_labelled=labelled,
            levels=dict(sorted(levels.items())),
            **{name: tuple(total) for name, total in sums.items()},
        )
