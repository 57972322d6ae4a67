"""The regions of a head: bone, cranial cavity, brain, white matter and fluid of each slice.

Found by Hounsfield units and shape alone, plane by plane, so that tilted, rotated, thick and noisy
scans are treated alike. The cavity is what bone encloses in the largest slice, followed from slice
to slice: muscle under the cheekbone is enclosed as well, but lies below no brain.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from ich_tf.dicom.brain_area import HEAD_MM2

_BONE_HU = 200.0
# Fat begins near -120 HU; foam, hair and pillows end near -400.
_TISSUE_HU = -300.0
# What is thinner is headrest, table, tube or ear.
_THIN_MM = 9.0
# Half of the widest gap in the skull that counts as closed.
_HOLE_MM = 9.0
_FAT_HU = -20.0
# Half of the width of what is no brain, but muscle and nerve that leave the skull.
_STRAND_MM = 2.5
# Enclosed soft tissue: fluid to clotted blood. The median of brain is 20 to 40 HU, of muscle 55.
_SOFT_HU = (-5.0, 100.0)
_MEDIAN_HU = (5.0, 70.0)
_LEAST_SOFT = 0.7
_LEAST_PIECE_MM2 = 60.0
# A piece belongs to the cavity if so much of it lies under or over the cavity beside it.
_LEAST_OVERLAP = 0.5
_MOST_MISSED = 2
# Bone within the cavity up to this area is a calcification or a clip, and no part of the skull.
_INCLUSION_MM2 = 400.0
_FLUID_HU = 6.0
# Beam hardening and partial volume raise what lies nearer to the bone.
_RIM_MM = 2.0
_WHITE_DEPTH_MM = 5.0


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
    """Regions of a series; masks are bool [slices, rows, columns].

    Attributes:
      head: The head with skin and air cells, without holder, table and the thin parts of ears.
      bone: Bone in the head: 200 HU and more.
      cavity: Inside of the skull.
      brain: Brain in the cavity, 2 mm and more from the bone.
      white: White matter: the darker class of the brain, away from its surface.
      grey: Grey matter: the brighter class of the brain.
      fluid: Cerebrospinal fluid in the cavity: ventricles, sulci, cisterns, and old infarcts.
      depth_mm: Distance from the border of the cavity in the plane, float32; 0 outside.
    """

    head: np.ndarray
    bone: np.ndarray
    cavity: np.ndarray
    brain: np.ndarray
    white: np.ndarray
    grey: np.ndarray
    fluid: np.ndarray
    depth_mm: np.ndarray

    @property
    def has_brain(self) -> np.ndarray:
        """Whether a slice has any of the cavity, bool [slices]."""
        return np.asarray(self.cavity.any(axis=(1, 2)))

    def of_slices(self, chosen: slice) -> Regions:
        """The regions of a part of the slices."""
        fields = dataclasses.fields(self)
        return Regions(**{field.name: getattr(self, field.name)[chosen] for field in fields})


def find_regions(hu: np.ndarray, pixel_mm: float) -> Regions:
    """Finds the regions of a series.

    Args:
      hu: Hounsfield units, float32 [slices, rows, columns], along the body in either direction.
      pixel_mm: Side of a pixel.

    Returns:
      The regions; without any cavity if no slice has 40 cm2 of brain, as of a neck or of a plastic
      head.
    """
    bone = hu > _BONE_HU
    pieces = [_enclosed(plane, solid, pixel_mm) for plane, solid in zip(hu, bone, strict=True)]
    cavity = np.stack([
        _up_to_bone(plane, piece, solid, pixel_mm)
        for plane, piece, solid in zip(hu, _chain(pieces, pixel_mm), bone, strict=True)
    ])  # fmt: skip
    head = np.stack([
        _head(plane, inside, pixel_mm) for plane, inside in zip(hu, cavity, strict=True)
    ])  # fmt: skip
    depth = np.stack([_distance_within(plane, pixel_mm) for plane in cavity])
    tissues = _tissues(hu, cavity, depth, pixel_mm)
    return Regions(head, bone & head, cavity, *tissues, depth)


def smooth(hu: np.ndarray, sigma_mm: float, pixel_mm: float) -> np.ndarray:
    """Blurs a slice by a Gaussian, float32 [rows, columns].

    Args:
      hu: Hounsfield units, float32 [rows, columns].
      sigma_mm: Standard deviation of the Gaussian.
      pixel_mm: Side of a pixel.
    """
    sigma = sigma_mm / pixel_mm
    return hu if sigma < 0.3 else np.asarray(cv2.GaussianBlur(hu, (0, 0), sigma))


def within(mask: np.ndarray, distance_mm: float, pixel_mm: float) -> np.ndarray:
    """Pixels of a mask and those up to a distance from it, bool [rows, columns]."""
    if not mask.any():
        return np.zeros(mask.shape, bool)
    far = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(far * pixel_mm <= distance_mm)


def _distance_within(mask: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Distance of a mask's pixels from those outside, mm; 0 outside."""
    inside = cv2.distanceTransform(
        np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5
    )[1:-1, 1:-1]  # fmt: skip
    return np.asarray(inside * np.float32(pixel_mm))


def _enclosed(hu: np.ndarray, bone: np.ndarray, pixel_mm: float) -> list[np.ndarray]:
    """Pieces of soft tissue that bone encloses, gaps of up to 18 mm closed."""
    pad = int(_HOLE_MM / pixel_mm) + 2
    wide = within(np.pad(bone, pad), _HOLE_MM, pixel_mm)
    closed = _distance_within(wide, pixel_mm) > _HOLE_MM
    free = ~closed[pad:-pad, pad:-pad]
    soft = smooth(hu, 1.0, pixel_mm)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8), connectivity=4)
    found = []
    for number in range(1, len(boxes)):
        left, top, columns, rows, area = boxes[number].tolist()
        at_border = not (left and top and left + columns < hu.shape[1] and top + rows < hu.shape[0])
        if at_border or area * pixel_mm**2 < _LEAST_PIECE_MM2:
            continue
        box = np.s_[top : top + rows, left : left + columns]
        values = soft[box][labels[box] == number]
        is_soft = np.mean((values > _SOFT_HU[0]) & (values < _SOFT_HU[1])) >= _LEAST_SOFT
        if is_soft and _MEDIAN_HU[0] <= np.median(values) <= _MEDIAN_HU[1]:
            found.append(labels == number)
    return found


def _chain(pieces: list[list[np.ndarray]], pixel_mm: float) -> list[np.ndarray | None]:
    """The pieces of each slice that continue the largest one; None where there are none."""
    areas = [sum(int(piece.sum()) for piece in slice_) for slice_ in pieces]
    largest = int(np.argmax(areas))
    chained: list[np.ndarray | None] = [None] * len(pieces)
    if areas[largest] * pixel_mm**2 < HEAD_MM2:
        return chained
    chained[largest] = np.logical_or.reduce(pieces[largest])
    for step in (-1, 1):
        beside, missed = chained[largest], 0
        index = largest + step
        while 0 <= index < len(pieces) and missed <= _MOST_MISSED:
            assert beside is not None
            near = within(beside, _HOLE_MM / 2, pixel_mm)
            kept = [p for p in pieces[index] if np.mean(near[p]) >= _LEAST_OVERLAP]
            if kept:
                beside = chained[index] = np.logical_or.reduce(kept)
                missed = 0
            else:
                missed += 1
            index += step
    return chained


def _up_to_bone(
    hu: np.ndarray, piece: np.ndarray | None, bone: np.ndarray, pixel_mm: float
) -> np.ndarray:
    """Extends a piece into the corners that closing took, and over what is enclosed in it."""
    if piece is None:
        return np.zeros(bone.shape, bool)
    # Fat lies beyond the gaps in the base, in the orbits and under the cheekbone.
    soft = smooth(hu, 0.8, pixel_mm) > _FAT_HU
    near = within(piece, _HOLE_MM, pixel_mm) & ~bone & soft
    _, labels = cv2.connectedComponents(near.astype(np.uint8), connectivity=4)
    kept = np.unique(labels[piece & ~bone])
    cavity = np.isin(labels, kept[kept > 0])
    # Strands through the fissures of the base end where an opening ends; corners stay.
    core = _distance_within(cavity, pixel_mm) > _STRAND_MM
    cavity &= within(core, _STRAND_MM + 1.5, pixel_mm)
    _, holes, boxes, _ = cv2.connectedComponentsWithStats((~cavity).astype(np.uint8))
    small = boxes[:, cv2.CC_STAT_AREA] * pixel_mm**2 < _INCLUSION_MM2
    small[0] = False
    return np.asarray(cavity | small[holes])


def _head(hu: np.ndarray, cavity: np.ndarray, pixel_mm: float) -> np.ndarray:
    """The head in a slice: the largest thick piece of tissue, or that around the cavity."""
    tissue = smooth(hu, 0.7, pixel_mm) > _TISSUE_HU
    thick = _distance_within(tissue, pixel_mm) > _THIN_MM / 2
    opened = within(thick, _THIN_MM / 2, pixel_mm)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(opened.astype(np.uint8), connectivity=4)
    if len(boxes) < 2:
        return np.zeros(hu.shape, bool)
    number = 1 + int(boxes[1:, cv2.CC_STAT_AREA].argmax())
    if cavity.any():
        counts = np.bincount(labels[cavity], minlength=len(boxes))
        counts[0] = 0
        number = int(counts.argmax()) or number
    head = within(labels == number, 2 * pixel_mm, pixel_mm) & tissue
    # What the skin encloses belongs to the head: sinuses, mastoid cells, airways.
    _, outside = cv2.connectedComponents(np.pad(~head, 1, constant_values=True).astype(np.uint8))
    return np.asarray((outside != outside[0, 0])[1:-1, 1:-1])


def _tissues(
    hu: np.ndarray, cavity: np.ndarray, depth: np.ndarray, pixel_mm: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Brain, white and grey matter and fluid, by thresholds of the series' own brain."""
    brain, white, grey, fluid = (np.zeros(hu.shape, bool) for _ in range(4))
    if not cavity.any():
        return brain, white, grey, fluid
    fine = np.stack([smooth(plane, 0.8, pixel_mm) for plane in hu])
    slow = np.stack([smooth(plane, 1.8, pixel_mm) for plane in hu])
    core = slow[depth > _WHITE_DEPTH_MM]
    core = core[(core > 15) & (core < 60)]
    if not core.size:
        return brain, white, grey, fluid
    middle = float(np.median(core))
    limit = (middle + _FLUID_HU) / 2
    np.logical_and(cavity, (fine < limit) & (fine > -40), out=fluid)
    np.logical_and(depth > _RIM_MM, (fine >= limit) & (fine < 100), out=brain)
    core = core[np.abs(core - middle) < middle - limit]
    threshold = _otsu(core)
    lowest = limit + 0.35 * (middle - limit)
    np.logical_and(brain, (slow < threshold) & (slow > lowest), out=white)
    white &= depth > _WHITE_DEPTH_MM
    for index in np.flatnonzero(white.any(axis=(1, 2))):
        # Without the edges: partial volume of grey matter and fluid has the same values.
        thick = _distance_within(white[index], pixel_mm) > 1.5
        white[index] &= within(thick, 1.5, pixel_mm)
    np.logical_and(brain, slow >= threshold, out=grey)
    return brain, white, grey, fluid


def _otsu(values: np.ndarray) -> float:
    """Threshold between two classes by the largest variance between them."""
    counts, edges = np.histogram(values, 128)
    centers = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    moment = np.cumsum(counts * centers)
    mean_below = moment[:-1] / np.maximum(below, 1)
    mean_above = (moment[-1] - moment[:-1]) / np.maximum(above, 1)
    return float(edges[1:-1][np.argmax(below * above * (mean_above - mean_below) ** 2)])
