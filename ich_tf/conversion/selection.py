"""Selection of the series to convert, and the account of those that are left out."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ich_tf.conversion.plan import SeriesKind
from ich_tf.conversion.slice_index import IndexedSlice
from ich_tf.dicom.choice import SeriesChoice, not_chosen_message
from ich_tf.dicom.reasons import Reason, Rejection
from ich_tf.dicom.series_description import SeriesDescription, describe_series

_LOG = logging.getLogger(__name__)

# Ids (patient, study, series) and slices of a series, in order.
_Series = tuple[tuple[str, str, str], list[IndexedSlice]]


@dataclass
class SeriesSelection:
    """Selects series, study by study, and keeps account.

    Attributes:
      choice: Rule of the selection.
      rejections: Slices of the series that are left out.
      transfer_syntaxes: Number of these slices per transfer syntax UID.
    """

    choice: SeriesChoice
    rejections: list[Rejection] = field(default_factory=list)
    transfer_syntaxes: Counter[str] = field(default_factory=Counter)
    _counts: dict[SeriesKind, list[int]] = field(default_factory=dict, init=False)

    def chosen(self, all_series: Iterable[_Series]) -> Iterator[_Series]:
        """Yields the series that are chosen.

        Args:
          all_series: Ids and slices of every series; those of a study follow each other.
        """
        for _, members in itertools.groupby(all_series, key=lambda series: series[0][:2]):
            study = list(members)
            descriptions = [
                describe_series(ids[2], [slice_.header for slice_ in slices])
                for ids, slices in study
            ]
            reasons = self.choice.why_not(descriptions)
            for series, description, why_not in zip(study, descriptions, reasons, strict=True):
                self._count(description, why_not)
                if why_not:
                    self._reject(series[1], description, why_not)
                else:
                    yield series

    def kinds(self) -> tuple[SeriesKind, ...]:
        """All series by kind: the chosen ones first, then by number of slices."""
        rows = [
            SeriesKind(
                kind.content,
                kind.origin,
                kind.kernel,
                kind.contrast,
                kind.thickness_mm,
                kind.why_not,
                *counts,
            )
            for kind, counts in self._counts.items()
        ]
        return tuple(sorted(rows, key=lambda row: (bool(row.why_not), -row.num_slices, row)))

    def log(self) -> None:
        """Says what is left out, and which flag takes it."""
        left_out = [kind for kind in self.kinds() if kind.why_not]
        if left_out:
            _LOG.info(
                "--series=%s leaves out %d slices of %d series, which are listed as %s; "
                "--series=all takes them",
                self.choice.text,
                sum(kind.num_slices for kind in left_out),
                sum(kind.num_series for kind in left_out),
                Reason.SERIES_NOT_CHOSEN.value,
            )

    def _count(self, description: SeriesDescription, why_not: str) -> None:
        kind = SeriesKind(
            description.content,
            description.origin,
            description.kernel,
            description.contrast,
            round(2 * description.slice_mm) / 2 or description.slice_mm,
            why_not,
        )
        counts = self._counts.setdefault(kind, [0, 0])
        counts[0] += 1
        counts[1] += description.num_slices

    def _reject(
        self, slices: Sequence[IndexedSlice], description: SeriesDescription, why_not: str
    ) -> None:
        self.transfer_syntaxes.update(slice_.header.transfer_syntax for slice_ in slices)
        message = not_chosen_message(description, why_not)
        self.rejections += [
            Rejection(
                slice_.path,
                "plan",
                Reason.SERIES_NOT_CHOSEN.value,
                message,
            )
            for slice_ in slices
        ]
