"""The area of brain in a slice: soft tissue that a skull encloses.

It tells a head from what is none: ribs and pelvis enclose no such area, vertebrae little, a plastic
head encloses air, a phantom for quality assurance water. A hole in the skull of up to 18 mm counts
as closed; a larger one, as after a craniotomy, opens the slices that it lies in.
"""

from __future__ import annotations

import cv2
import numpy as np

from ich_tf.dicom.coarse_grid import GRID_MM, coarse

# Measured on heads of two makers, a patient after a craniotomy, a neck, a shoulder, a vertebra and
# two plastic heads: heads have slices of 90 to 180 cm2, nothing else has more than 2 cm2.
HEAD_MM2 = 4000.0

# Acrylic, the wall of most phantoms, has 120 HU; the skull of an infant 300 HU and more.
_BONE_HU = 200.0
_HOLE_MM = 18.0
# Fluid to clotted blood; the median of brain is 20 to 40 HU, that of water 0.
_SOFT_HU = (0.0, 100.0)
_MEDIAN_HU = (5.0, 70.0)
_LEAST_SOFT = 0.7
# The inside of the largest skulls is 165 mm wide and 200 mm long.
_MAX_SIDE_MM = 230.0


def brain_mm2(hu: np.ndarray, spacing_mm: tuple[float, float]) -> float:
    """Area of the largest piece of brain in a slice, mm2; 0 if there is none.

    Args:
      hu: Hounsfield units, float32 [rows, columns].
      spacing_mm: Distance between rows, and between columns.
    """
    small = coarse(hu, spacing_mm)
    width = round(_HOLE_MM / GRID_MM) | 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    # Beyond the image there is no bone: a border of the disc's width keeps closing from adding any.
    bone = np.pad((small > _BONE_HU).astype(np.uint8), width)
    free = 1 - cv2.morphologyEx(bone, cv2.MORPH_CLOSE, disc)
    # The outside is one of the pieces: around the border nothing is bone.
    _, pieces, boxes, _ = cv2.connectedComponentsWithStats(free, connectivity=4)
    padded = np.pad(small, width, constant_values=-1000.0)
    found = 0.0
    for number in range(1, len(boxes)):
        left, top, piece_columns, piece_rows, area = boxes[number].tolist()
        if max(piece_columns, piece_rows) * GRID_MM > _MAX_SIDE_MM or area * GRID_MM**2 <= found:
            continue
        inside = np.s_[top : top + piece_rows, left : left + piece_columns]
        values = padded[inside][pieces[inside] == number]
        num_soft = np.count_nonzero((values > _SOFT_HU[0]) & (values < _SOFT_HU[1]))
        is_soft = num_soft >= _LEAST_SOFT * len(values)
        if is_soft and _MEDIAN_HU[0] <= np.median(values) <= _MEDIAN_HU[1]:
            found = max(found, num_soft * GRID_MM**2)
    return float(found)
