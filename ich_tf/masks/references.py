"""Which images a mask in DICOM was drawn on, read without its pixels."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ich_tf.masks.dicom_file import items, opened
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.guard import guarded

# Sequences that lead to items with a SeriesInstanceUID: of a segmentation, of a structure set.
_SERIES = (
    ("ReferencedSeriesSequence",),
    ("StudiesContainingOtherReferencedInstancesSequence", "ReferencedSeriesSequence"),
    (
        "ReferencedFrameOfReferenceSequence",
        "RTReferencedStudySequence",
        "RTReferencedSeriesSequence",
    ),
)
# Sequences within these that lead to items with a ReferencedSOPInstanceUID.
_INSTANCES_OF_SERIES = ("ReferencedInstanceSequence", "ContourImageSequence")
# Sequences that lead to such items frame by frame, or contour by contour.
_INSTANCES = (
    ("PerFrameFunctionalGroupsSequence", "DerivationImageSequence", "SourceImageSequence"),
    ("SharedFunctionalGroupsSequence", "DerivationImageSequence", "SourceImageSequence"),
    ("ROIContourSequence", "ContourSequence", "ContourImageSequence"),
    ("SourceImageSequence",),
)


@dataclass(frozen=True)
class MaskReferences:
    """What a mask file says it was drawn on.

    Attributes:
      series_ids: Series instance UIDs.
      instance_ids: SOP instance UIDs.
      frame_of_reference: Frame of reference UID; empty if the file has none.
      study_id: Study instance UID of the mask itself.
      patient_id: PatientID; empty if the file has none.
    """

    series_ids: frozenset[str]
    instance_ids: frozenset[str]
    frame_of_reference: str
    study_id: str
    patient_id: str

    @property
    def refers(self) -> bool:
        """Whether the file names series or images; of others, their study is all that is known."""
        return bool(self.series_ids or self.instance_ids)

    def check(self, patient_id: str, series_id: str, image_ids: Collection[str]) -> None:
        """Checks that a mask is of a series.

        Args:
          patient_id: PatientID of the series; empty if it has none.
          series_id: Series instance UID.
          image_ids: SOP instance UIDs of its slices; of a frame, `<UID>/<frame>`.

        Raises:
          MaskError: MASK_OTHER_SERIES.
        """
        if self.patient_id and patient_id and self.patient_id != patient_id:
            raise self._other("another patient (PatientID)")
        if self.instance_ids:
            instances = {image_id.split("/")[0] for image_id in image_ids}
            if not self.instance_ids & instances:
                raise self._other(f"{len(self.instance_ids)} other images (SOP instance UIDs)")
        elif self.series_ids and series_id not in self.series_ids:
            raise self._other("another series (series instance UID)")

    def _other(self, what: str) -> MaskError:
        return MaskError(
            MaskReason.MASK_OTHER_SERIES,
            f"refers to {what}; expected the mask of this series.",
        )


def read_references(path: str | Path) -> MaskReferences:
    """Reads what a DICOM segmentation or structure set refers to.

    Args:
      path: The file.

    Raises:
      MaskError: MASK_UNREADABLE.
    """
    series_ids: set[str] = set()
    instance_ids: set[str] = set()
    with guarded(), opened(path) as dataset:
        for keywords in _SERIES:
            for series in items(dataset, *keywords):
                series_ids.add(_text(series, "SeriesInstanceUID"))
                for keyword in _INSTANCES_OF_SERIES:
                    instance_ids |= _instances(series, keyword)
        for keywords in _INSTANCES:
            instance_ids |= _instances(dataset, *keywords)
        frame = _text(dataset, "FrameOfReferenceUID") or next(
            (
                _text(item, "FrameOfReferenceUID")
                for item in items(dataset, "ReferencedFrameOfReferenceSequence")
            ),
            "",
        )
        return MaskReferences(
            frozenset(series_ids - {""}),
            frozenset(instance_ids - {""}),
            frame,
            _text(dataset, "StudyInstanceUID"),
            _text(dataset, "PatientID"),
        )


def _instances(dataset: Any, *keywords: str) -> set[str]:
    return {_text(item, "ReferencedSOPInstanceUID") for item in items(dataset, *keywords)}


def _text(dataset: Any, keyword: str) -> str:
    return unicodedata.normalize("NFC", str(dataset.get(keyword, "") or "")).strip(" \0")
