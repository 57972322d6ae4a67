"""Matching of slices and rows of the label CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ich_tf.conversion.pseudonyms import pseudonym
from ich_tf.dicom.header import Header
from ich_tf.dicom.reasons import Reason, Rejection
from ich_tf.dicom.sources import Source
from ich_tf.labels import read_labels_and_conflicts

if TYPE_CHECKING:
    import pandas as pd

Labels = tuple[int, ...]


class LabelMatcher:
    """Finds the labels of slices; each row of the label table is used once."""

    def __init__(self, table: pd.DataFrame, conflicts: dict[str, str] | None = None) -> None:
        """Stores the labels.

        Args:
          table: Label table: a row per image id, a column per class.
          conflicts: Contradiction in the labels of an image, by image id.
        """
        self._conflicts = conflicts or {}
        self._conflicting: set[str] = set()
        # RSNA's 752,803 images share 64 possible rows: equal ones become the same tuple.
        interned: dict[Labels, Labels] = {}
        rows = map(tuple, table.to_numpy().tolist())
        self._labels = {
            image_id: interned.setdefault(row, row)
            for image_id, row in zip(table.index, rows, strict=True)
        }
        self._names = [*self._labels, *self._conflicts]
        self._shared_stems: set[str] = set()

    @classmethod
    def from_csv(cls, path: str) -> LabelMatcher:
        """Reads a label CSV.

        Raises:
          LabelError: If the file cannot be read.
        """
        return cls(*read_labels_and_conflicts(path))

    def see(self, sources: Iterable[Source]) -> None:
        """Notes the names that several files share, in different folders: they identify no file.

        Args:
          sources: All files. Call this before the first `take`.
        """
        seen: set[str] = set()
        for source in sources:
            stem = source.stem
            (self._shared_stems if stem in seen else seen).add(stem)

    def take(self, source: Source, header: Header) -> tuple[str, Labels] | Rejection:
        """Finds the labels of a slice, and removes them from the table.

        RSNA names a file by its image id; other CSVs have the SOP instance UID, or the file's path
        within the source, with extension or without. The number of a frame follows each of them.

        Args:
          source: DICOM file.
          header: Header of the slice.

        Returns:
          Image id in the CSV, and labels; or the reason why the slice has none.
        """
        suffix = f"/{header.frame}" if header.frame else ""
        stem = source.stem
        is_shared = stem in self._shared_stems
        candidates = dict.fromkeys(
            [header.image_id] if is_shared else [stem + suffix, header.image_id]
        )
        if not any(name in self._labels or name in self._conflicts for name in candidates):
            # A shared name does not become a path by lying in no folder.
            paths = [path for path in _paths(source) if not (is_shared and path == stem)]
            candidates = dict.fromkeys(path + suffix for path in paths)
        wrong = [name for name in candidates if name in self._conflicts]
        # Labels are used once: no later slice finds them.
        taken = {name: self._labels.pop(name) for name in candidates if name in self._labels}
        if wrong:
            self._conflicting.update(wrong)
            return _rejection(source, Reason.LABEL_CONFLICT, f"{self._conflicts[wrong[0]]}.")
        if len(set(taken.values())) > 1:
            message = "its file's name and its SOP instance UID have different labels."
            return _rejection(source, Reason.LABEL_CONFLICT, message)
        for image_id, labels in taken.items():
            return image_id, labels
        if is_shared and stem + suffix in self._labels:
            message = (
                f"several files are named {PurePosixPath(source.name).name}, so that the label CSV "
                "does not say whose labels it holds. Name images there by SOP instance UID, or by "
                "the file's path within the folder."
            )
            return _rejection(source, Reason.LABEL_AMBIGUOUS, message)
        message = "neither its file's name nor its SOP instance UID is in the label CSV."
        return _rejection(source, Reason.LABEL_MISSING, message)

    def without_images(
        self, sources: Iterable[Source], hash_key: bytes = b""
    ) -> Iterator[Rejection]:
        """Rejections of the labels for which there is no file, readable or not.

        Args:
          sources: All files. Call this after `take` for each of their slices.
          hash_key: Secret under which ids are hashed; empty for the public key.
        """
        left = {*self._labels, *self._conflicts} - self._conflicting
        for source in sources:
            left.difference_update((source.stem, *_paths(source)))
        for number, image_id in enumerate(self._names, 1):
            if image_id in left:
                yield Rejection(
                    pseudonym(image_id, hash_key),
                    "plan",
                    Reason.IMAGE_MISSING.value,
                    f"image {number} of the label CSV has no file.",
                )


def _paths(source: Source) -> tuple[str, str]:
    """The file's path within the source, with its extension and without."""
    return source.name, source.name.removesuffix(PurePosixPath(source.name).suffix)


def _rejection(source: Source, reason: Reason, message: str) -> Rejection:
    return Rejection(source.name, "plan", reason.value, message)
