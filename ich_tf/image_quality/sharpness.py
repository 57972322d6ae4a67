"""Sharpness: the modulation transfer function, from the inner edge of the skull.

Along rays across the inner table the image rises from brain to bone. The rays are aligned where
they reach half of the rise, the steepest quarter is averaged (an oblique skull only flattens), and
the derivative of this edge is the line spread function. Its side towards the brain is mirrored: on
the other side lies no plateau but a table of 1 to 3 mm and the diploe.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from ich_tf.image_quality.regions import Regions

FREQUENCIES = np.arange(0.0, 1.55, 0.05)
_STEP_MM = 0.1
_REACH_MM = 8.0
_SEARCH_MM = 4.0
_RAYS_PER_SLICE = 240
_MOST_SLICES = 10
# Near the vertex and the base the skull is oblique: only slices with much of the largest area.
_LEAST_AREA = 0.6
_LEAST_RISE_HU = 500.0
_STEEPEST = 0.25
_LEAST_RAYS = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Sharpness:
    """Modulation transfer function in the plane of the slices.

    Attributes:
      frequencies: Cycles per mm, float64 [n], from 0.
      mtf: Modulation by frequency, float64 [n], 1 at 0; NaN if it could not be measured.
      distances_mm: Distance from the edge, towards the bone, float64 [m].
      edge: Mean edge from 0, brain, to 1, bone, float64 [m].
      num_rays: Number of rays that were averaged.
    """

    frequencies: np.ndarray
    mtf: np.ndarray
    distances_mm: np.ndarray
    edge: np.ndarray
    num_rays: int

    def frequency_at(self, modulation: float) -> float:
        """Lowest frequency at which the modulation falls to a value, cycles per mm; else NaN."""
        below = np.flatnonzero(self.mtf < modulation)
        if not below.size:
            return float("nan")
        after = int(below[0])
        high, low = self.mtf[after - 1], self.mtf[after]
        part = (high - modulation) / (high - low)
        return float(self.frequencies[after - 1] + part * (FREQUENCIES[1] - FREQUENCIES[0]))


def measure_sharpness(hu: np.ndarray, regions: Regions, pixel_mm: float) -> Sharpness:
    """Measures the modulation transfer function of a series.

    Args:
      hu: Hounsfield units, float32 [slices, rows, columns].
      regions: Regions of the series.
      pixel_mm: Side of a pixel.
    """
    offsets = np.arange(-_REACH_MM, _REACH_MM + _STEP_MM / 2, _STEP_MM)
    areas = regions.cavity.sum(axis=(1, 2))
    slices = np.flatnonzero(areas >= max(1.0, _LEAST_AREA * float(areas.max())))
    slices = slices[:: -(-len(slices) // _MOST_SLICES) or 1]
    aligned = [
        _aligned(_rays(hu[index], regions.cavity[index], offsets, pixel_mm), offsets)
        for index in slices
    ]
    edges = np.concatenate(aligned) if aligned else np.zeros((0, len(_around(offsets))))
    slopes = np.diff(edges, axis=1).max(axis=1, initial=0.0)
    if len(edges):
        edges = edges[slopes >= np.quantile(slopes, 1 - _STEEPEST)]
    distances = _around(offsets)
    if len(edges) < _LEAST_RAYS:
        nothing = np.full(len(FREQUENCIES), np.nan)
        return Sharpness(FREQUENCIES, nothing, distances, np.full(len(distances), np.nan), 0)
    edge = edges.mean(axis=0)
    return Sharpness(FREQUENCIES, _transfer(edge, distances), distances, edge, len(edges))


def _around(offsets: np.ndarray) -> np.ndarray:
    """Distances from the aligned edge that every ray reaches."""
    return np.asarray(offsets[np.abs(offsets) <= _REACH_MM - _SEARCH_MM])


def _rays(hu: np.ndarray, cavity: np.ndarray, offsets: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Values along rays across the border of the cavity, outwards, float64 [rays, offsets]."""
    inside = np.pad(cavity, 1).astype(np.uint8)
    distance = (
        cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
        - cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    )[1:-1, 1:-1]  # fmt: skip
    slow = cv2.GaussianBlur(distance, (0, 0), max(1.0, 2.0 / pixel_mm))
    down, right = np.gradient(slow)
    rows, columns = np.nonzero(cavity & (np.abs(distance) < 1.5))
    every = -(-len(rows) // _RAYS_PER_SLICE) or 1
    rows, columns = rows[::every], columns[::every]
    length = np.hypot(down[rows, columns], right[rows, columns])
    # Where two parts of the border meet, the distance has no direction.
    clear = length > 0.7
    rows, columns, length = rows[clear], columns[clear], length[clear]
    y = rows[:, None] + np.outer(down[rows, columns] / length, offsets / pixel_mm)
    x = columns[:, None] + np.outer(right[rows, columns] / length, offsets / pixel_mm)
    if not len(rows):
        return np.zeros((0, len(offsets)))
    values = cv2.remap(
        hu, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC, borderValue=(-1000.0,)
    )
    return values.astype(np.float64)


def _aligned(rays: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Rays from 0 to 1, moved so that they cross 0.5 at the middle; those without an edge left out.

    Returns:
      float64 [rays that have an edge, distances of `_around`].
    """
    distances = _around(offsets)
    found = []
    near = np.abs(offsets) <= _SEARCH_MM
    for ray in rays:
        brain = float(np.median(ray[offsets < -_SEARCH_MM]))
        rise = ray[near] - brain
        # The first maximum after half of the largest value: the inner table, not the outer one.
        half = int(np.argmax(rise > 0.5 * rise.max()))
        falls = np.flatnonzero(np.diff(rise[half:]) < 0)
        if not falls.size or half == 0:
            continue
        top = float(rise[half + int(falls[0])])
        if top < _LEAST_RISE_HU:
            continue
        scaled = (ray - brain) / top
        start = int(np.flatnonzero(near)[0])
        crossing = start + int(np.argmax(scaled[near] > 0.5))
        low, high = scaled[crossing - 1], scaled[crossing]
        place = offsets[crossing - 1] + _STEP_MM * (0.5 - low) / (high - low)
        found.append(np.interp(distances + place, offsets, scaled))
    return np.array(found).reshape(-1, len(distances))


def _transfer(edge: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Modulation transfer function of a mean edge, by the side of it towards the brain."""
    spread = np.diff(edge) / _STEP_MM
    middles = (distances[1:] + distances[:-1]) / 2
    # The peak lies within 0.6 mm of the half of the rise, for the table's own width moves it.
    near = np.abs(middles) <= 0.6
    peak = int(np.flatnonzero(near)[np.argmax(spread[near])])
    half = spread[: peak + 1][::-1]
    half = half * np.clip(np.linspace(2.0, 0.0, len(half)), 0, 1)  # to zero at the far end
    lags = _STEP_MM * np.arange(len(half))
    weights = np.where(lags == 0, 1.0, 2.0)
    waves = np.cos(2 * np.pi * np.outer(FREQUENCIES, lags))
    transfer = waves @ (weights * half)
    # Cosines of the step between samples: the derivative was a difference over 0.1 mm.
    return np.asarray(transfer / transfer[0] / np.sinc(FREQUENCIES * _STEP_MM))
