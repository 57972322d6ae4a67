"""Matching of slices and rows of the label CSV.

A row names an image by its SOP instance UID, by the name of its file, or by the file's path within
the source; name and path with their extension, or without. The number of a frame follows each of
them. A row goes to the image that it names exactly, else to the one whose name or path it is
without extension; what two images answer to goes to neither.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.conversion.label_rows import LabelRows
from ich_tf.dicom.header import Header
from ich_tf.dicom.nifti_names import is_nifti, without_nifti_extension
from ich_tf.dicom.reasons import split_quarantine_path

_UID, _EXACT, _CUT = range(3)


@dataclass(frozen=True, eq=False)
class LabelMatches:
    """Rows of the label CSV that belong to slices.

    Attributes:
      row: Row of each slice, int32 [slices]; -1 if it has none.
      further_rows: Other rows of a slice that several rows name, by the slice's number.
      ambiguous: Slices of which a row could speak, or of another image as well.
      unused_rows: Rows that name no file, in order.
      ambiguous_rows: Rows that could mean several images, each of which has a row of its own.
    """

    row: np.ndarray
    further_rows: dict[int, list[int]]
    ambiguous: frozenset[int]
    unused_rows: Sequence[int]
    ambiguous_rows: Sequence[int]

    def rows(self, slice_: int) -> list[int]:
        """All rows of a slice."""
        first = int(self.row[slice_])
        return [] if first < 0 else [first, *self.further_rows.get(slice_, ())]


class LabelMatcher:
    """Finds the row of each slice, once the names of all of them are known.

    Attributes:
      rows: Rows of the label CSV.
      label_key: What a row names an image by, one of `config.LABEL_KEYS`.
    """

    def __init__(self, rows: LabelRows, label_key: str = "auto") -> None:
        """Has seen no slice yet.

        Args:
          rows: Rows of the label CSV.
          label_key: One of `config.LABEL_KEYS`; `auto` for whatever a row names an image by.
        """
        self.rows = rows
        self.label_key = label_key
        # A claim: a slice, a row that could name it, and how. Numbers of files without a slice are
        # negative. Arrays, since there are 752,803 of RSNA's.
        self._slices, self._rows, self._kinds = array("i"), array("i"), array("b")
        self._num_slices = self._num_unusable = 0

    def add_slice(self, path: str, header: Header) -> None:
        """Notes the names of the next slice, in the file at a path."""
        self._claim(self._num_slices, path, header)
        self._num_slices += 1

    def add_unusable(self, path: str, header: Header | None = None) -> None:
        """Notes the names of a file, or a slice in it, that is left out: a row may mean it."""
        self._num_unusable += 1
        self._claim(-self._num_unusable, path, header)
        file, frame = split_quarantine_path(path)
        if header is None and frame:
            self._claim(-self._num_unusable, file, frame=frame)

    def _claim(
        self, slice_: int, path: str, header: Header | None = None, *, frame: int = 0
    ) -> None:
        kinds: dict[int, int] = {}
        for kind, key in candidate_keys(path, header, self.label_key, self.rows.numbers, frame):
            kinds.setdefault(self.rows.numbers[key], kind)
        for row, kind in kinds.items():
            self._slices.append(slice_)
            self._rows.append(row)
            self._kinds.append(kind)

    def match(self, image_of: np.ndarray) -> LabelMatches:
        """Gives every row to the image that it names. It is called once.

        Args:
          image_of: Number of the image that each slice shows, int [slices]. Copies of a file show
            the same image, and share its rows.
        """
        slices, kinds = np.asarray(self._slices), np.asarray(self._kinds)
        rows = np.asarray(self._rows, np.int64)
        images = slices.copy()
        images[slices >= 0] = image_of[slices[slices >= 0]]
        best = np.full(len(self.rows), _CUT + 1)
        np.minimum.at(best, rows, kinds)
        is_best = kinds == best[rows]
        slices, rows, images = slices[is_best], rows[is_best], images[is_best]
        is_shared = _num_images(rows, images, len(self.rows))[rows] > 1
        # A file that has a row of its own is not meant by one that could mean others, too.
        is_meant = ~is_shared | ~np.isin(images, images[~is_shared])
        counts = _num_images(rows[is_meant], images[is_meant], len(self.rows))
        is_found = is_meant & (counts[rows] == 1) & (slices >= 0)
        is_doubtful = is_meant & (counts[rows] > 1) & (slices >= 0)
        row = np.full(self._num_slices, -1, np.int32)
        further: dict[int, list[int]] = {}
        # Written from behind, so that the first of several rows stays.
        row[slices[is_found][::-1]] = rows[is_found][::-1]
        more = row[slices[is_found]] != rows[is_found]
        for slice_, other in zip(
            slices[is_found][more].tolist(), rows[is_found][more].tolist(), strict=True
        ):
            further.setdefault(slice_, []).append(other)
        # Of RSNA's images, the ids' numbers take 60 MiB, and no one asks for them any more.
        self.rows.numbers.clear()
        return LabelMatches(
            row=row,
            further_rows=further,
            ambiguous=frozenset(slices[is_doubtful].tolist()),
            unused_rows=np.flatnonzero(best > _CUT).tolist(),
            ambiguous_rows=np.setdiff1d(rows, rows[is_meant]).tolist(),
        )


def candidate_keys(
    path: str, header: Header | None, label_key: str, known: Container[str], frame: int
) -> Iterator[tuple[int, str]]:
    """Ids of the label CSV that may name a slice, the most exact first, each with how exact it is.

    Args:
      path: Path of its file from the folder of all inputs, as texts show it.
      header: Header of the slice; None for a file that has none.
      label_key: One of `config.LABEL_KEYS`.
      known: Ids of the label CSV.
      frame: Number of the frame, where there is no header.
    """
    frame = frame if header is None else header.frame
    suffix = f"/{frame}" if frame else ""
    if header is not None and label_key in ("auto", "uid") and header.image_id in known:
        yield _UID, header.image_id
    _, slash, name = path.rpartition("/")
    texts = [name] if label_key in ("auto", "name") else []
    if label_key == "path" or (label_key == "auto" and slash):
        texts.append(path)
    exact = [text for text in texts if text + suffix in known]
    for text in exact:
        yield _EXACT, text + suffix
    stem = name.rpartition(".")[0] if name[-1:] != "." else ""
    if is_nifti(name):
        stem = without_nifti_extension(name)
    if stem:
        for text in texts:
            cut = text[: len(stem) - len(name)] + suffix
            # Where the CSV has the whole text, what looks like an extension is none.
            if text not in exact and cut in known:
                yield _CUT, cut


def _num_images(rows: np.ndarray, images: np.ndarray, num_rows: int) -> np.ndarray:
    """Number of different images that claim each row, int [num_rows]."""
    # Pairs as single numbers, which sort in a tenth of the time.
    pairs = np.unique((rows << 32) + images + 2**31)
    return np.bincount(pairs >> 32, minlength=num_rows)
