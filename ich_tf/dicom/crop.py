"""The box of the head, the same for all slices of a series, so that neighbours stay aligned.

A quarter to a half of a scan's field of view is air, table and headrest. Without them, the same
number of stored pixels shows the head in more detail.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from ich_tf.dicom.coarse_grid import GRID_MM, coarse
from ich_tf.dicom.header import Header
from ich_tf.dicom.reasons import DicomError, Reason

# Top, left, rows and columns in pixels; empty for the whole image.
Box = tuple[int, ...]

# Fat begins near -120 HU, foam and pillows end near -400.
_TISSUE_HU = -200.0
# Structures thinner than this are headrest, table, tube or ear. Measured on a real series: without
# the limit, the box of a slice followed the headrest's arms.
_THIN_MM = 20.0
_MARGIN_MM = 6.0
_LEAST_AREA_MM2 = 1000.0


def head_box(hu: np.ndarray, spacing_mm: tuple[float, float]) -> Box:
    """Finds the largest thick piece of tissue in a slice.

    Args:
      hu: Hounsfield units, float32 [H, W].
      spacing_mm: Distance between rows, and between columns.

    Returns:
      The box of the piece with a margin of 6 mm, within the image; empty if there is none.
    """
    size, small = hu.shape, coarse(hu, spacing_mm)
    thin = round(_THIN_MM / GRID_MM) | 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thin, thin))
    mask = cv2.morphologyEx((small > _TISSUE_HU).astype(np.uint8), cv2.MORPH_OPEN, disc)
    _, _, pieces, _ = cv2.connectedComponentsWithStats(mask)
    pieces = pieces[1:]  # the first is the background
    if not len(pieces) or pieces[:, cv2.CC_STAT_AREA].max() * GRID_MM**2 < _LEAST_AREA_MM2:
        return ()
    left, top, columns, rows, _ = pieces[pieces[:, cv2.CC_STAT_AREA].argmax()].tolist()
    box = []
    for axis, (start, length) in enumerate(((top, rows), (left, columns))):
        scale, margin = size[axis] / small.shape[axis], _MARGIN_MM / spacing_mm[axis]
        first = max(0, math.floor(start * scale - margin))
        last = min(size[axis], math.ceil((start + length) * scale + margin))
        box.append((first, last - first))
    return box[0][0], box[1][0], box[0][1], box[1][1]


def series_boxes(slices: Sequence[tuple[Header, Box]]) -> list[Box]:
    """Unites the boxes of each series.

    Args:
      slices: Header and box of each slice, of any number of series, in any order.

    Returns:
      For each slice, in the same order, the smallest box around those of its series. Slices of one
      series that differ in rows or columns have different boxes.
    """
    members: dict[tuple[str, str, str, int, int], list[Box]] = {}
    keys = []
    for header, box in slices:
        ids = header.patient_id, header.study_id, header.series_id
        keys.append((*ids, header.rows, header.columns))
        members.setdefault(keys[-1], []).append(box)
    united = {key: _around(boxes) for key, boxes in members.items()}
    return [united[key] for key in keys]


def cut(hu: np.ndarray, box: Box) -> np.ndarray:
    """Cuts a box out of an image.

    Args:
      hu: Image [H, W].
      box: Box within the image; empty for the whole image.

    Returns:
      A view of the image, [rows, columns] of the box.

    Raises:
      DicomError: BAD_GEOMETRY, if the box exceeds the image, whose file has changed since.
    """
    if not box:
        return hu
    top, left, rows, columns = box
    if top + rows > hu.shape[0] or left + columns > hu.shape[1]:
        raise DicomError(
            Reason.BAD_GEOMETRY,
            f"has {hu.shape[0]} x {hu.shape[1]} pixels; the planned crop extends to "
            f"{top + rows} x {left + columns}. The file was changed meanwhile.",
        )
    return hu[top : top + rows, left : left + columns]


def _around(boxes: Iterable[Box]) -> Box:
    corners = np.array([box for box in boxes if box])
    if not len(corners):
        return ()
    first = corners[:, :2].min(axis=0)
    last = (corners[:, :2] + corners[:, 2:]).max(axis=0)
    return (*first.tolist(), *(last - first).tolist())
