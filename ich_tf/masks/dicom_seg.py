"""DICOM segmentations (PS3.3 A.51) -> masks on planes in patient coordinates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ich_tf.masks.class_map import ClassMap, bits_of
from ich_tf.masks.dicom_file import items, numbers, opened, whole_number
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.planes import SAME_PLACE_MM, Plane
from ich_tf.masks.volume import MaskVolume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_STORAGE, _LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
# Syntaxes that pydicom reads in Python. Decoders in C run in processes of their own, and masks of
# bits are not compressed by them.
_SYNTAXES = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5",
)  # fmt: skip
_RLE = _SYNTAXES[-1]
# 2,000 frames of 512 x 512.
_MAX_PIXELS = 1 << 29


def read_dicom_seg(path: str | Path, classes: ClassMap) -> MaskVolume:
    """Reads a DICOM segmentation; its frames of one place are one plane.

    Args:
      path: The file: BINARY, LABELMAP, or FRACTIONAL with nothing but 0 and its maximum.
      classes: Class of each segment, by label or number.

    Raises:
      MaskError: MASK_FORMAT, MASK_GEOMETRY or MASK_CLASS.
    """
    with opened(path, pixels=True) as dataset:
        _check_kind(dataset)
        # In a label map, 0 is the background, which may be described as a segment.
        is_label_map = dataset.SOPClassUID == _LABEL_MAP_STORAGE
        by_number = _segments(dataset, classes, is_label_map=is_label_map)
        frames = list(_frames(dataset))
        _check_pixel_data(dataset)
        pixels = np.asarray(dataset.pixel_array)
        pixels = pixels.reshape(_shape(dataset))
        _check_type(dataset, pixels)
    if is_label_map:
        unknown = set(np.unique(pixels).tolist()) - set(by_number) - {0}
    else:
        unknown = {number for number, _ in frames} - set(by_number)
    if unknown:
        raise MaskError(
            MaskReason.MASK_FORMAT,
            f"has frames of segment {min(unknown)}, which it does not describe; expected the "
            f"segments {sorted(by_number)}.",
        )
    planes, indices = _merged([plane for _, plane in frames])
    _check_frames_differ([number for number, _ in frames], indices)
    bits = np.zeros((len(planes), *pixels.shape[1:]), np.uint8)
    for (number, _), index, frame in zip(frames, indices, pixels, strict=True):
        numbers_in_frame = by_number if is_label_map else (number,)
        for segment in numbers_in_frame:
            marked = frame == segment if is_label_map else frame > 0
            bits[index] |= marked * np.uint8(bits_of(by_number[segment]))
    annotated = classes.annotated(by_number.values())
    return MaskVolume(tuple(planes), bits, annotated, sparse=True)


def _check_kind(dataset: Dataset) -> None:
    if dataset.get("SOPClassUID") not in (_STORAGE, _LABEL_MAP_STORAGE):
        raise MaskError(
            MaskReason.MASK_FORMAT, "is no DICOM segmentation; expected one, of pixels."
        )
    if dataset.file_meta.TransferSyntaxUID not in _SYNTAXES:
        raise MaskError(
            MaskReason.MASK_FORMAT,
            f"is compressed ({dataset.file_meta.TransferSyntaxUID}); expected an uncompressed "
            "segmentation, or one in RLE.",
        )
    count, rows, columns = _shape(dataset)
    if min(rows, columns) < 1 or not 0 < count * rows * columns <= _MAX_PIXELS:
        raise MaskError(
            MaskReason.MASK_FORMAT,
            f"has {count} frames of {rows} x {columns} pixels; expected at most {_MAX_PIXELS:,} "
            "pixels, and one at least.",
        )


def _shape(dataset: Dataset) -> tuple[int, int, int]:
    """Number of frames, rows and columns."""
    return (
        whole_number(dataset, "NumberOfFrames", 1),
        whole_number(dataset, "Rows"),
        whole_number(dataset, "Columns"),
    )


def _segments(dataset: Dataset, classes: ClassMap, *, is_label_map: bool) -> dict[int, int | None]:
    """Class of each segment, by its number."""
    by_number: dict[int, int | None] = {}
    for segment in items(dataset, "SegmentSequence"):
        number = whole_number(segment, "SegmentNumber")
        if not number and is_label_map:
            continue
        if number in by_number:
            raise MaskError(
                MaskReason.MASK_FORMAT,
                f"describes segment {number} twice; expected one description of each.",
            )
        label = str(segment.get("SegmentLabel", ""))
        by_number[number] = classes.class_of(label, number, "segment")
    return by_number


def _check_pixel_data(dataset: Dataset) -> None:
    """Checks the type and, where they are not compressed, the number of the pixels."""
    bits, samples = (
        whole_number(dataset, "BitsAllocated"),
        whole_number(dataset, "SamplesPerPixel", 1),
    )
    if bits not in (1, 8, 16) or samples != 1:
        raise MaskError(
            MaskReason.MASK_FORMAT,
            f"has {samples} samples a pixel of {bits} bits; expected one, of 1, 8 or 16 bits.",
        )
    if not dataset.get("PixelData"):
        raise MaskError(MaskReason.MASK_FORMAT, "has no pixel data; expected a segmentation.")
    found, expected = len(dataset.PixelData), -(-math.prod(_shape(dataset)) * bits // 8)
    # A byte more makes their number even (PS3.5 8.1.1).
    if dataset.file_meta.TransferSyntaxUID != _RLE and not expected <= found <= expected + 1:
        raise MaskError(
            MaskReason.MASK_UNREADABLE,
            f"has {found:,} bytes of pixels, and its header announces {expected:,}.",
        )


def _check_frames_differ(numbers_: list[int], indices: list[int]) -> None:
    """Checks that no segment has two frames in one place."""
    seen: set[tuple[int, int]] = set()
    for place in zip(numbers_, indices, strict=True):
        if place in seen:
            raise MaskError(
                MaskReason.MASK_GEOMETRY,
                f"has two frames of segment {place[0]} in one place; expected one of each.",
            )
        seen.add(place)


def _check_type(dataset: Dataset, pixels: np.ndarray) -> None:
    if dataset.get("SegmentationType") in ("BINARY", "LABELMAP"):
        return
    if dataset.get("SegmentationType") == "FRACTIONAL":
        highest = int(dataset.get("MaximumFractionalValue", 255))
        if ((pixels == 0) | (pixels == highest)).all():
            return
        raise MaskError(
            MaskReason.MASK_FORMAT,
            "holds fractions, like a map of probabilities; expected 0 or the maximum.",
        )
    raise MaskError(
        MaskReason.MASK_FORMAT,
        "is a segmentation of none of the types BINARY, FRACTIONAL and LABELMAP.",
    )


def _frames(dataset: Dataset) -> Iterator[tuple[int, Plane]]:
    """Segment number and plane of each frame, from its functional groups or the shared ones."""
    shared = next(items(dataset, "SharedFunctionalGroupsSequence"), None)
    groups = list(items(dataset, "PerFrameFunctionalGroupsSequence"))
    count, rows, columns = _shape(dataset)
    if len(groups) != count:
        raise MaskError(
            MaskReason.MASK_FORMAT,
            f"describes {len(groups)} frames and has {count}; expected a description of each.",
        )
    for group in groups:

        def value(macro: str, keyword: str, group: Any = group) -> Any:
            for source in (group, shared):
                for item in items(source, macro):
                    if keyword in item:
                        return item[keyword].value
            return None

        number = numbers([value("SegmentIdentificationSequence", "ReferencedSegmentNumber")], 1)
        position = numbers(value("PlanePositionSequence", "ImagePositionPatient"), 3)
        orientation = numbers(value("PlaneOrientationSequence", "ImageOrientationPatient"), 6)
        spacing = numbers(value("PixelMeasuresSequence", "PixelSpacing"), 2)
        axes = np.reshape(orientation, (2, -1)) if orientation else np.zeros((2, 3))
        # PS3.3 C.7.6.2.1.1: unit vectors at a right angle; comparisons that a nan fails, too.
        if (
            (not number and dataset.SOPClassUID == _STORAGE)
            or not (position and np.isfinite(position).all())
            or not np.abs(axes @ axes.T - np.eye(2)).max() < 1e-2
            or not (spacing and all(0.01 <= each <= 100 for each in spacing))
        ):
            raise MaskError(
                MaskReason.MASK_GEOMETRY,
                "has a frame without segment number, position, orientation or spacing, or with "
                "values that are none; expected them in its functional groups.",
            )
        yield (
            int(number[0]) if number else 0,
            Plane(
                tuple(position),  # type: ignore[arg-type]
                tuple(orientation),  # type: ignore[arg-type]
                (spacing[0], spacing[1]),
                rows,
                columns,
            ),
        )


def _merged(planes: list[Plane]) -> tuple[list[Plane], list[int]]:
    """Different planes in their order along the normal, and the index of each frame's plane."""
    normal = planes[0].normal
    places = np.array([float(plane.centre_mm @ normal) for plane in planes])
    order = np.argsort(places, kind="stable")
    different: list[Plane] = []
    indices = [0] * len(planes)
    last = -np.inf
    for frame in order.tolist():
        if places[frame] - last >= SAME_PLACE_MM:
            different.append(planes[frame])
            last = places[frame]
        away = np.subtract(planes[frame].corners_mm, different[-1].corners_mm)
        if np.abs(away).max() >= SAME_PLACE_MM * 2:
            raise MaskError(
                MaskReason.MASK_GEOMETRY,
                "has frames in one place whose pixels do not lie on each other.",
            )
        indices[frame] = len(different) - 1
    return different, indices
