"""Size and shape of head and skull, in the slices where the cavity is wide."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from ich_tf.image_quality.regions import Regions
from ich_tf.image_quality.statistics import Statistic, Values, nothing

STATISTICS = (
    Statistic("head_length_mm", "mm", "length of the head along its longer axis", 3.0),
    Statistic("head_width_mm", "mm", "width of the head across it", 3.0),
    Statistic("aspect", "", "width divided by length of the cavity", 0.02),
    Statistic("skull_mm", "mm", "median thickness of the skull", 0.5),
    Statistic("skull_variation", "", "standard deviation of its thickness by its mean", 0.05),
    Statistic("diploe", "", "density in the middle of the skull by that of its tables", 0.05),
    Statistic("scalp_mm", "mm", "median distance between skull and skin", 0.5),
    Statistic(
        "rotation_deg", "degrees", "angle of the head to the image's vertical, absolute", 2.0
    ),
    Statistic("asymmetry", "", "share of the cavity without a mirror image in it", 0.01),
    Statistic("roughness", "", "circumference of the cavity by that of its ellipse", 0.01),
    Statistic("air_cells_share", "", "share of air in the head, in slices of the base", 0.005),
)
# The skull is crossed about at right angles where the cavity has this share of its largest area.
_LEAST_AREA = 0.7
_RAYS = 180
_REACH_MM = 30.0
_STEP_MM = 0.25
_SKULL_HU = 250.0
_SKIN_HU = -300.0
_AIR_HU = -400.0


def anatomy_statistics(hu: np.ndarray, regions: Regions, pixel_mm: float) -> Values:
    """Statistics of each slice with 70 % of the largest area of the cavity; air cells below it.

    Args:
      hu: Hounsfield units, float32 [slices, rows, columns], from the feet to the head.
      regions: Regions of the series.
      pixel_mm: Side of a pixel.
    """
    values = {statistic.name: nothing(len(hu)) for statistic in STATISTICS}
    areas = regions.cavity.sum(axis=(1, 2))
    largest = int(areas.max())
    for index in np.flatnonzero(areas > 0):
        wide = areas[index] >= _LEAST_AREA * largest
        if not wide and index < int(areas.argmax()):
            head = regions.head[index]
            air = np.count_nonzero(hu[index][head] < _AIR_HU)
            values["air_cells_share"][index] = air / max(1, int(head.sum()))
        elif wide:
            for name, value in _of_slice(hu[index], regions, index, pixel_mm).items():
                values[name][index] = value
    return values


def _of_slice(hu: np.ndarray, regions: Regions, index: int, pixel_mm: float) -> dict[str, float]:
    cavity = regions.cavity[index]
    contours, _ = cv2.findContours(
        cavity.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    outline = max(contours, key=len)
    center, axes, degrees = cv2.fitEllipse(outline)
    width, length = min(axes), max(axes)
    # Of the longer axis from the vertical, between -90 and 90.
    angle = degrees if axes[1] >= axes[0] else degrees + 90.0
    angle = (angle + 90.0) % 180.0 - 90.0
    head = np.argwhere(regions.head[index])
    # Row and column of a unit vector along the longer axis, and of one across it.
    along = np.array([math.cos(math.radians(angle)), -math.sin(math.radians(angle))])
    across = np.array([-along[1], along[0]])
    skull, scalp, diploe = _walls(hu, outline, center, pixel_mm)
    # Circumference of an ellipse, after Lindner; exact to 1e-5 for heads.
    eccentric = ((length - width) / (length + width)) ** 2
    ellipse_px = math.pi * (length + width) / 2 * (1 + eccentric / 8) ** 2
    return {
        "head_length_mm": float(np.ptp(head @ along)) * pixel_mm,
        "head_width_mm": float(np.ptp(head @ across)) * pixel_mm,
        "aspect": width / length,
        "skull_mm": float(np.median(skull)) if skull.size else math.nan,
        "skull_variation": float(skull.std() / skull.mean()) if skull.size else math.nan,
        "diploe": float(np.median(diploe)) if diploe.size else math.nan,
        "scalp_mm": float(np.median(scalp)) if scalp.size else math.nan,
        "rotation_deg": abs(angle),
        "asymmetry": _asymmetry(cavity, center, angle),
        "roughness": _circumference(outline) / ellipse_px,
    }


def _circumference(outline: np.ndarray) -> float:
    """Length of an outline, px, without the steps of its pixels."""
    points = outline[:, 0, :].astype(np.float64)
    kernel = np.ones(5) / 5
    smoothed = np.stack([
        np.convolve(np.concatenate([part[-4:], part, part[:4]]), kernel, "same")[4:-4]
        for part in points.T
    ], axis=1)  # fmt: skip
    return float(np.hypot(*np.diff(np.vstack([smoothed, smoothed[:1]]), axis=0).T).sum())


def _asymmetry(cavity: np.ndarray, center: Sequence[float], angle: float) -> float:
    """Share of a cavity whose mirror image over its longer axis is not in it."""
    size = (cavity.shape[1], cavity.shape[0])
    turn = _turn(center, angle, size)
    warped = cv2.warpAffine(cavity.astype(np.uint8), turn, size, flags=cv2.INTER_NEAREST)
    upright = np.asarray(warped, bool)
    area = int(upright.sum())
    return float(np.count_nonzero(upright & ~upright[:, ::-1])) / area if area else math.nan


def _turn(center: Sequence[float], angle: float, size: tuple[int, int]) -> np.ndarray:
    """Map that turns the longer axis upright and moves its middle to the image's."""
    turn = np.asarray(cv2.getRotationMatrix2D(center, angle, 1.0), np.float64)
    turn[:, 2] += (np.array(size) - 1) / 2 - np.array(center)
    return turn


def _walls(
    hu: np.ndarray, outline: np.ndarray, center: Sequence[float], pixel_mm: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thickness of skull and scalp, mm, and density of the diploe, along rays from the middle."""
    points = outline[:: max(1, len(outline) // _RAYS), 0, :].astype(np.float64)
    outward = points - np.array(center)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-6)
    offsets = np.arange(-2.0, _REACH_MM, _STEP_MM)
    x = points[:, :1] + outward[:, :1] * offsets / pixel_mm
    y = points[:, 1:] + outward[:, 1:] * offsets / pixel_mm
    rays = cv2.remap(
        hu, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderValue=(-1000.0,)
    )
    skull, scalp, diploe = [], [], []
    for ray in rays:
        skin = np.flatnonzero(ray > _SKIN_HU)
        bone = np.flatnonzero(ray > _SKULL_HU)
        # Air cells and sinuses are no wall; a ray that ends within tissue has no skin.
        if not bone.size or skin[-1] == len(ray) - 1:
            continue
        first, last = int(bone[0]), int(bone[-1])
        if last - first < 3 or (ray[first:last] < _AIR_HU).any():
            continue
        skull.append((last - first + 1) * _STEP_MM)
        scalp.append((int(skin[-1]) - last) * _STEP_MM)
        third = (last - first + 1) // 3
        if third >= 2:
            tables = (ray[first : first + third].max() + ray[last - third + 1 : last + 1].max()) / 2
            diploe.append(float(ray[first + third : last - third + 1].mean() / tables))
    return np.array(skull), np.array(scalp), np.array(diploe)
