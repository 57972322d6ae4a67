"""Labels of slices, and what is wrong where a slice has none, or a row no image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ich_tf.conversion.label_rows import LabelRows
from ich_tf.conversion.matching import LabelMatches
from ich_tf.conversion.pseudonyms import pseudonym
from ich_tf.conversion.slice_index import IndexedSlice
from ich_tf.dicom.reasons import Reason, Rejection

# By `--label_key`.
_MISSING = {
    "auto": "neither its file's name nor its SOP instance UID is in the label CSV.",
    "uid": "its SOP instance UID is not in the label CSV.",
    "name": "its file's name is not in the label CSV.",
    "path": "its file's path is not in the label CSV.",
}


class Labelling:
    """Rows of the label CSV, and the slices that they belong to."""

    def __init__(
        self,
        rows: LabelRows,
        matches: LabelMatches,
        label_key: str = "auto",
        *,
        is_partial: bool = False,
    ) -> None:
        """Takes over what was found.

        Args:
          rows: Rows of the label CSV.
          matches: Rows of each slice.
          label_key: What a row names an image by, one of `config.LABEL_KEYS`.
          is_partial: Whether a slice may go without a row, since its exam may have labels.
        """
        self.rows = rows
        self.matches = matches
        self.is_partial = is_partial
        self._label_key = label_key

    def is_unlabelled(self, number: int) -> bool:
        """Whether no row speaks of a slice, which is given by its number."""
        return bool(self.matches.row[number] < 0)

    def doubtful(self, numbers: np.ndarray) -> np.ndarray:
        """Those of some slices that have no row, a faulty one, or several; by number, int [n]."""
        row = self.matches.row[numbers]
        has_row = row >= 0
        if self.is_partial:
            has_row |= ~np.isin(numbers, list(self.matches.ambiguous))
        is_sound = has_row & ~np.isin(row, list(self.rows.conflicts))
        is_sound &= ~np.isin(numbers, list(self.matches.further_rows))
        return np.asarray(numbers[~is_sound])

    def problem(self, number: int, slice_: IndexedSlice) -> Rejection | None:
        """The reason why a slice has no labels that can be used; None if it has.

        Args:
          number: Number of the slice in the index.
          slice_: The slice.
        """
        rows = self.matches.rows(number)
        faults = [self.rows.conflicts[row] for row in rows if row in self.rows.conflicts]
        if faults:
            return _rejection(slice_.path, Reason.LABEL_CONFLICT, f"{faults[0]}.")
        if len({self.rows.labels(row) for row in rows}) > 1:
            places = " and ".join(map(self.rows.place, rows))
            message = f"{places} name it, and have different labels."
            return _rejection(slice_.path, Reason.LABEL_CONFLICT, message)
        if rows:
            return None
        if number in self.matches.ambiguous:
            message = (
                "a row of the label CSV could mean it or another file, so that the CSV does not "
                "say whose labels it holds. Name images there by SOP instance UID, or by the "
                "file's path within the folder."
            )
            return _rejection(slice_.path, Reason.LABEL_AMBIGUOUS, message)
        if self.is_partial:
            return None
        return _rejection(slice_.path, Reason.LABEL_MISSING, _MISSING[self._label_key])

    def rows_without_images(self, hash_key: bytes = b"") -> Iterator[Rejection]:
        """Rejections of the rows that belong to no image.

        Args:
          hash_key: Secret under which ids are hashed; under the public key, the empty one, the
            message quotes the row's id.
        """
        for rows, complaint in (
            (self.matches.unused_rows, "has no file."),
            (
                self.matches.ambiguous_rows,
                "could mean several files, each of which has a row of its own.",
            ),
        ):
            for row in rows:
                image_id = self.rows.ids[row]
                quoted = "" if hash_key else f", {image_id!r},"
                message = f"{self.rows.place(row)}{quoted} {complaint}"
                yield _rejection(pseudonym(image_id, hash_key), Reason.IMAGE_MISSING, message)


def _rejection(path: str, reason: Reason, message: str) -> Rejection:
    return Rejection(path, "plan", reason.value, message)
