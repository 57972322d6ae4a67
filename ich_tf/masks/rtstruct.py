"""DICOM structure sets (PS3.3 A.19) -> masks, drawn onto the slices that they refer to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.masks.class_map import ClassMap, bits_of
from ich_tf.masks.contours import fill
from ich_tf.masks.dicom_file import items, numbers, opened
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.planes import SAME_PLACE_MM, Plane, gaps_mm, places_mm
from ich_tf.masks.volume import MaskVolume

_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
# Contours of closed forms (PS3.3 C.8.8.6.3).
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# Pixels that a contour may lie beyond the centres of the outermost ones: half for their edges, and
# as much for smoothed contours.
_MARGIN = 1.0
_ROUNDING_MM = 0.02
_USUAL_GAP_MM = 5.0


def read_rtstruct(path: str | Path, classes: ClassMap, planes: Sequence[Plane]) -> MaskVolume:
    """Reads a structure set.

    Contours of one region on one slice are filled together by the even-odd rule. The regions tell
    of every slice: where they have no contour, a slice is empty.

    Args:
      path: The file.
      classes: Class of each region of interest, by name or number.
      planes: Planes of the slices that the file refers to, one or more, in any order.

    Raises:
      MaskError: MASK_FORMAT, MASK_CLASS, MASK_CONTOUR, or MASK_MISALIGNED for a contour half the
        distance between slices or more away from the nearest slice.
    """
    planes = _different(planes)
    stack = _Stack(planes)
    bits = np.zeros((len(planes), planes[0].rows, planes[0].columns), np.uint8)
    with opened(path) as dataset:
        if dataset.get("SOPClassUID") != _STORAGE:
            raise MaskError(MaskReason.MASK_FORMAT, "is no DICOM structure set.")
        by_number = {
            int(region.ROINumber): classes.class_of(
                str(region.get("ROIName", "")), int(region.ROINumber), "region of interest"
            )
            for region in items(dataset, "StructureSetROISequence")
        }
        if not by_number:
            raise MaskError(MaskReason.MASK_FORMAT, "has no region of interest; expected some.")
        for region in items(dataset, "ROIContourSequence"):
            number = int(region.ReferencedROINumber)
            if number not in by_number:
                raise MaskError(
                    MaskReason.MASK_FORMAT,
                    f"has contours of region {number}, which it does not describe; expected the "
                    f"regions {sorted(by_number)}.",
                )
            if by_number[number] is None:
                continue
            polygons: dict[int, list[np.ndarray]] = defaultdict(list)
            for contour in items(region, "ContourSequence"):
                index, polygon = stack.polygon(_points(contour, number), number)
                polygons[index].append(polygon)
            for index, drawn in polygons.items():
                filled = fill(drawn, *bits.shape[1:])
                bits[index] |= filled * np.uint8(bits_of(by_number[number]))
    return MaskVolume(tuple(planes), bits, classes.annotated(by_number.values()))


def _different(planes: Sequence[Plane]) -> list[Plane]:
    """Planes in their order along their normal, one of each place: a series may have two scans."""
    places = places_mm(planes, planes[0].normal)
    order = np.argsort(places, kind="stable")
    is_new = np.diff(places[order], prepend=-np.inf) >= SAME_PLACE_MM
    return [planes[i] for i in order[is_new]]


def _points(contour: Any, number: int) -> np.ndarray:
    """Points of a closed contour, float64 [n, 3]."""
    kind = str(contour.get("ContourGeometricType", ""))
    if kind not in _CLOSED:
        shown = kind if kind in ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR") else "of another form"
        raise MaskError(
            MaskReason.MASK_CONTOUR,
            f"has a contour of region {number} that is not closed: it is {shown}; expected "
            "CLOSED_PLANAR.",
        )
    values = numbers(contour.get("ContourData"))
    if len(values) % 3 or len(values) < 9 or not np.isfinite(values).all():
        raise MaskError(
            MaskReason.MASK_CONTOUR,
            f"has a contour of region {number} with {len(values)} coordinates; expected three "
            "finite ones for each of at least three points.",
        )
    return np.reshape(values, (-1, 3))


class _Stack:
    """Slices that contours are drawn on."""

    def __init__(self, planes: Sequence[Plane]) -> None:
        self._planes = planes
        self._normal = planes[0].normal
        self._origins = np.array([plane.position_mm for plane in planes])
        gaps = gaps_mm(places_mm(planes, self._normal))
        self._halves = np.where(np.isfinite(gaps), gaps, _USUAL_GAP_MM) / 2 + _ROUNDING_MM

    def polygon(self, points_mm: np.ndarray, number: int) -> tuple[int, np.ndarray]:
        """Index of a contour's slice, and its points there as rows and columns, [n, 2]."""
        away = np.abs((points_mm[:, None] - self._origins) @ self._normal).max(axis=0)
        nearest = int(np.argmin(away))
        if away[nearest] > self._halves[nearest]:
            raise MaskError(
                MaskReason.MASK_MISALIGNED,
                f"has a contour of region {number} that is {away[nearest]:.2f} mm away from the "
                f"nearest slice; expected less than {self._halves[nearest] - _ROUNDING_MM:.2f} mm, "
                "half the distance between slices, at each of its points.",
            )
        plane = self._planes[nearest]
        polygon = np.stack(plane.pixels(points_mm), axis=1)
        low, high = polygon.min(), (polygon - [plane.rows - 1, plane.columns - 1]).max()
        if low < -_MARGIN or high > _MARGIN:
            raise MaskError(
                MaskReason.MASK_CONTOUR,
                f"has a contour of region {number} that lies {max(-low, high):.1f} pixels outside "
                "of the image; expected all contours within.",
            )
        return nearest, polygon
