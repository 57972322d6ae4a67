"""Where the head is: one box for all slices of a series, so that neighbours stay aligned.

A scan's field of view holds a quarter to a half of air, table and headrest. Cut away, the same
number of stored pixels shows the head in more detail.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from ich_tf.dicom.header import Header
from ich_tf.dicom.reasons import DicomError, Reason

# Top, left, rows, columns; empty for the whole image.
Box = tuple[int, ...]

# The search runs on a grid of 2 mm. Fat begins near -120 HU, foam and pillows end near -400.
_GRID_MM = 2.0
_TISSUE_HU = -200.0
# Thinner than this is headrest, table, tube or ear. Measured on a real series: the box of a slice
# without it followed the headrest's arms.
_THIN_MM = 20.0
_MARGIN_MM = 6.0
_LEAST_AREA_MM2 = 1000.0
# A matrix of 4,096 pixels a metre apart asks for no grid of four million.
_LARGEST_GRID = 1024


def head_box(hu: np.ndarray, spacing_mm: tuple[float, float]) -> Box:
    """The box of the largest thick piece of tissue in a slice, with a margin of 6 mm.

    Args:
      hu: Hounsfield units, float32 [H, W].
      spacing_mm: Between rows, between columns.

    Returns:
      The box, within the image; empty where there is no such piece.
    """
    size = hu.shape
    grid = [
        min(_LARGEST_GRID, max(1, round(n * mm / _GRID_MM)))
        for n, mm in zip(size, spacing_mm, strict=True)
    ]
    small = cv2.resize(hu, (grid[1], grid[0]), interpolation=cv2.INTER_AREA)
    thin = round(_THIN_MM / _GRID_MM) | 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thin, thin))
    mask = cv2.morphologyEx((small > _TISSUE_HU).astype(np.uint8), cv2.MORPH_OPEN, disc)
    _, _, pieces, _ = cv2.connectedComponentsWithStats(mask)
    pieces = pieces[1:]  # the first is what lies around
    if not len(pieces) or pieces[:, cv2.CC_STAT_AREA].max() * _GRID_MM**2 < _LEAST_AREA_MM2:
        return ()
    left, top, columns, rows, _ = pieces[pieces[:, cv2.CC_STAT_AREA].argmax()].tolist()
    box = []
    for axis, (start, length) in enumerate(((top, rows), (left, columns))):
        scale, margin = size[axis] / grid[axis], _MARGIN_MM / spacing_mm[axis]
        first = max(0, math.floor(start * scale - margin))
        last = min(size[axis], math.ceil((start + length) * scale + margin))
        box.append((first, last - first))
    return box[0][0], box[1][0], box[0][1], box[1][1]


def series_boxes(slices: Sequence[tuple[Header, Box]]) -> list[Box]:
    """One box a series: the smallest around its slices' own.

    Args:
      slices: Headers and own boxes, of any number of series, in any order.

    Returns:
      The box of each, in their order. Slices of one series with another matrix share another.
    """
    found: dict[tuple[str, str, str, int, int], list[Box]] = {}
    keys = []
    for header, box in slices:
        ids = header.patient_id, header.study_id, header.series_id
        keys.append((*ids, header.rows, header.columns))
        found.setdefault(keys[-1], []).append(box)
    united = {key: _around(boxes) for key, boxes in found.items()}
    return [united[key] for key in keys]


def cut(hu: np.ndarray, box: Box) -> np.ndarray:
    """The part of an image [H, W] that a box holds; an empty box holds it all.

    Raises:
      DicomError: BAD_GEOMETRY, if the image is not the one that the box was made for.
    """
    if not box:
        return hu
    top, left, rows, columns = box
    if top + rows > hu.shape[0] or left + columns > hu.shape[1]:
        raise DicomError(
            Reason.BAD_GEOMETRY,
            f"has {hu.shape[0]} x {hu.shape[1]} pixels; the crop that was planned reaches to "
            f"{top + rows} x {left + columns}. The file was changed meanwhile.",
        )
    return hu[top : top + rows, left : left + columns]


def _around(boxes: Iterable[Box]) -> Box:
    found = np.array([box for box in boxes if box])
    if not len(found):
        return ()
    first = found[:, :2].min(axis=0)
    last = (found[:, :2] + found[:, 2:]).max(axis=0)
    return (*first.tolist(), *(last - first).tolist())
