"""A DICOM file -> a data set for each of its slices.

An enhanced multi-frame file (PS3.3 C.7.6.16) describes its frames in functional groups: those of a
frame, and those that all frames share. A frame's data set holds them at the top level, where other
files have them. The groups of a frame are read when the frame is.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict

from ich_tf.dicom.content import Buffer
from ich_tf.dicom.data_set import DataSet, Element, item_elements, items
from ich_tf.dicom.elements import integer, tag_of
from ich_tf.dicom.reasons import DicomError, Reason

# Enhanced CT holds a series in a file; the longest head CT has some hundred slices.
MAX_FRAMES = 2000
_PER_FRAME = tag_of("PerFrameFunctionalGroupsSequence")
_SHARED = tag_of("SharedFunctionalGroupsSequence")
# Functional groups of enhanced CT that hold what other files have at the top level.
_MACROS = {
    "PixelSpacing": "PixelMeasuresSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "RescaleType": "PixelValueTransformationSequence",
    "FrameType": "CTImageFrameTypeSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "ConvolutionKernel": "CTReconstructionSequence",
    "FrameAcquisitionNumber": "FrameContentSequence",
    "FrameAcquisitionDateTime": "FrameContentSequence",
    "ContrastBolusAgentAdministered": "ContrastBolusUsageSequence",
}


def _tags_by_macro() -> dict[int, set[int]]:
    tags: dict[int, set[int]] = defaultdict(set)
    for keyword, macro in _MACROS.items():
        tags[tag_of(macro)].add(tag_of(keyword))
    return dict(tags)


_TAGS = _tags_by_macro()


class Frames:
    """The slices of a file, by the numbers of their frames."""

    def __init__(self, dataset: DataSet) -> None:
        """Finds the frames of a file.

        Args:
          dataset: The file.

        Raises:
          DicomError: MULTI_FRAME, TOO_LARGE or BAD_HEADER.
        """
        self._dataset = dataset
        self._shared: dict[int, Element] = {}
        self._items: list[tuple[int, int]] = []
        count = integer(dataset, "NumberOfFrames", 1)
        if _PER_FRAME not in dataset:
            if count != 1:
                raise DicomError(
                    Reason.MULTI_FRAME,
                    f"NumberOfFrames is {count} without functional groups, which hold each "
                    "frame's position; expected 1.",
                )
            self.numbers: range = range(1)
            return
        if not 1 <= count <= MAX_FRAMES:
            raise DicomError(
                Reason.TOO_LARGE, f"NumberOfFrames is {count}; expected 1 to {MAX_FRAMES}."
            )
        self.numbers = range(1, count + 1)
        try:
            found = items(self._groups, big=dataset.big)
            self._items = list(itertools.islice(found, MAX_FRAMES + 1))
            if (shared := dataset.get(_SHARED)) is not None:
                for start, end in list(items(shared.value, big=dataset.big))[:1]:
                    self._shared = self._flat(shared.value, start, end)
        except ValueError as error:
            raise _unreadable(error) from error
        if len(self._items) != count:
            raise DicomError(
                Reason.BAD_HEADER,
                f"NumberOfFrames is {count}, but {len(self._items)} frames are described.",
            )

    def __getitem__(self, frame: int) -> DataSet:
        """The data set of a slice.

        Args:
          frame: Number of the frame, from 1; 0 in a file of one slice.

        Raises:
          DicomError: BAD_HEADER.
        """
        if frame not in self.numbers:
            raise DicomError(Reason.BAD_HEADER, f"has no frame {frame}.")
        if not frame:
            return self._dataset
        try:
            own = self._flat(self._groups, *self._items[frame - 1])
        except ValueError as error:
            raise _unreadable(error) from error
        elements = {**self._dataset.elements, **self._shared, **own}
        return dataclasses.replace(self._dataset, elements=elements)

    @property
    def _groups(self) -> memoryview:
        element = self._dataset.get(_PER_FRAME)
        assert element is not None
        return memoryview(element.value)

    def _flat(self, value: Buffer, start: int, end: int) -> dict[int, Element]:
        """The wanted elements of an item's macros, without the macros."""
        big = self._dataset.big
        flat: dict[int, Element] = {}
        for macro, found in item_elements(value, start, end, _TAGS, big=big).items():
            for first, last in items(found.value, big=big):
                flat |= item_elements(found.value, first, last, _TAGS[macro], big=big)
                break
        return flat


def _unreadable(error: ValueError) -> DicomError:
    return DicomError(Reason.BAD_HEADER, f"its functional groups cannot be read ({error}).")
