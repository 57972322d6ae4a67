"""DICOM structure sets (PS3.3 A.19) -> masks, drawn onto the slices that they refer to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ich_tf.dicom.header import MAX_POSITION_MM
from ich_tf.masks.class_map import ClassMap, bits_of
from ich_tf.masks.contours import fill, is_same, join_centres, outline
from ich_tf.masks.dicom_file import items, numbers, opened, whole_number
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.planes import SAME_PLACE_MM, Plane, gaps_mm, places_mm
from ich_tf.masks.volume import MaskVolume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
# Contours of closed forms (PS3.3 C.8.8.6.3).
_XOR = "CLOSEDPLANAR_XOR"
_CLOSED = ("CLOSED_PLANAR", _XOR)
# Pixels that a contour may lie beyond the centres of the outermost ones: half for their edges, and
# as much for smoothed contours.
_MARGIN = 1.0
_ROUNDING_MM = 0.02
_USUAL_GAP_MM = 5.0


def read_rtstruct(path: str | Path, classes: ClassMap, planes: Sequence[Plane]) -> MaskVolume:
    """Reads a structure set.

    Contours of one region in one plane are filled together by the even-odd rule; a contour that is
    there twice counts once, and lines that join pixel centres belong to what they enclose. Each
    slice takes the plane of contours that is nearest. The regions tell of every slice: where they
    have no contour, a slice is empty. A region without any contour tells of nothing, as nobody has
    drawn it.

    Args:
      path: The file.
      classes: Class of each region of interest, by name or number.
      planes: Planes of the slices that the file refers to, one or more, in any order.

    Raises:
      MaskError: MASK_FORMAT, MASK_CLASS, MASK_CONTOUR, or MASK_MISALIGNED for a contour half the
        distance between slices or more away from the nearest slice.
    """
    found: list[int | None] = []
    planes = _different(planes)
    stack = _Stack(planes)
    bits = np.zeros((len(planes), planes[0].rows, planes[0].columns), np.uint8)
    with opened(path) as dataset:
        if dataset.get("SOPClassUID") != _STORAGE:
            raise MaskError(MaskReason.MASK_FORMAT, "is no DICOM structure set.")
        names = _names(dataset)
        for region in items(dataset, "ROIContourSequence"):
            number = whole_number(region, "ReferencedROINumber")
            contours = list(items(region, "ContourSequence"))
            if not contours:
                continue
            if number not in names:
                raise MaskError(
                    MaskReason.MASK_FORMAT,
                    f"has contours of region {number}, which it does not describe; expected the "
                    f"regions {sorted(names)}.",
                )
            class_ = classes.class_of(names[number], number, "region of interest")
            found.append(class_)
            if class_ is None:
                continue
            drawn = stack.drawn(contours, number)
            with_lines = join_centres(chain.from_iterable(drawn.values()))
            is_empty, size = True, bits.shape[1:]
            for index, polygons in drawn.items():
                marked = fill(polygons, *size)
                if with_lines:
                    marked |= outline(polygons, *size)
                is_empty &= not marked.any()
                bits[index] |= marked * np.uint8(bits_of(class_))
            alone = (fill([each], *size).any() for each in chain.from_iterable(drawn.values()))
            if is_empty and any(alone):
                raise MaskError(
                    MaskReason.MASK_CONTOUR,
                    f"has {len(contours)} contours of region {number} that cancel each other out; "
                    "expected each area once.",
                )
    annotated = classes.annotated(found)
    if not annotated:
        raise MaskError(
            MaskReason.MASK_FORMAT,
            f"has {len(names)} regions of interest, and none of them has a contour of a bleed; "
            "expected contours. If nothing was found, name the classes that were looked for in "
            "--mask_classes.",
        )
    return MaskVolume(tuple(planes), bits, annotated)


def _names(dataset: Dataset) -> dict[int, str]:
    """Name of each region of interest, by its number."""
    names: dict[int, str] = {}
    for region in items(dataset, "StructureSetROISequence"):
        number, name = whole_number(region, "ROINumber"), str(region.get("ROIName", ""))
        if names.setdefault(number, name) != name:
            raise MaskError(
                MaskReason.MASK_FORMAT,
                f"describes region {number} twice, by two names; expected one of each number.",
            )
    return names


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
    # A comparison that a nan fails, too.
    if len(values) % 3 or len(values) < 9 or not np.abs(values).max() <= MAX_POSITION_MM:
        raise MaskError(
            MaskReason.MASK_CONTOUR,
            f"has a contour of region {number} with {len(values)} coordinates that are numbers; "
            "expected three for each of at least three points, within "
            f"{MAX_POSITION_MM:g} mm of the origin.",
        )
    return np.reshape(values, (-1, 3))


class _Stack:
    """Slices that contours are drawn on."""

    def __init__(self, planes: Sequence[Plane]) -> None:
        self._planes = planes
        self._normal = planes[0].normal
        self._origins = np.array([plane.position_mm for plane in planes])
        gaps = gaps_mm(places_mm(planes, self._normal))
        self._halves = np.where(np.isfinite(gaps), gaps, _USUAL_GAP_MM) / 2

    def drawn(self, contours: Sequence[Any], number: int) -> dict[int, list[np.ndarray]]:
        """Polygons of a region by slice: those of the plane that is nearest to the slice.

        Contours of other slices than these may lie closer to each other; those of two planes
        filled together would cancel each other out.
        """
        polygons: dict[int, list[tuple[float, np.ndarray]]] = defaultdict(list)
        for contour in contours:
            index, away, polygon = self._polygon(_points(contour, number), number)
            is_again = contour.ContourGeometricType != _XOR and any(
                is_same(polygon, other) for _, other in polygons[index]
            )
            if not is_again:
                polygons[index].append((away, polygon))
        drawn: dict[int, list[np.ndarray]] = {}
        for index, placed in polygons.items():
            nearest = min((away for away, _ in placed), key=abs)
            drawn[index] = [
                polygon for away, polygon in placed if abs(away - nearest) < 2 * SAME_PLACE_MM
            ]
        return drawn

    def _polygon(self, points_mm: np.ndarray, number: int) -> tuple[int, float, np.ndarray]:
        """Index of a contour's slice, its distance, and its points as rows and columns, [n, 2]."""
        distances = points_mm @ self._normal[:, None] - self._origins @ self._normal
        away = np.abs(distances).max(axis=0)
        nearest = int(np.argmin(away))
        # Halfway it belongs to neither of two slices; headers are rounded.
        if away[nearest] > self._halves[nearest] - _ROUNDING_MM:
            raise MaskError(
                MaskReason.MASK_MISALIGNED,
                f"has a contour of region {number} that is {away[nearest]:.2f} mm away from the "
                f"nearest slice; expected less than {self._halves[nearest]:.2f} mm, half the "
                "distance between slices, at each of its points.",
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
        return nearest, float(distances[:, nearest].mean()), polygon
