"""A mask's planes -> the slices of a series, by geometry and never by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.planes import SAME_PLACE_MM, Plane, gaps_mm, places_mm
from ich_tf.masks.volume import ImageVolume, MaskVolume

# Distance between slices where there is but one slice and one plane.
_USUAL_GAP_MM = 5.0
# Halfway, rounded to float32 or six digits, is still halfway.
_ROUNDING_MM = 0.02
# Pixels this near to each other's centres are the same pixels; positions are rounded to 0.01 mm.
_SAME_PIXEL = 0.05
# Share of the marked pixels that may lie outside of the images.
_MAX_LOST = 0.01
# Share of the planes of a sparse mask that need a slice: the file of another may be lost.
_MIN_MATCHED = 0.5


@dataclass(frozen=True, eq=False)
class PlacedMask:
    """A mask on the slices of a series.

    Attributes:
      bits: Bit masks, uint8 [n, rows, columns], bit k for class k of `labels.CLASSES`.
      annotated: Bits of the classes that the mask tells of in each slice, int64 [n].
    """

    bits: np.ndarray
    annotated: np.ndarray


def place(volume: MaskVolume, planes: Sequence[Plane]) -> PlacedMask:
    """Places a mask on slices.

    Each slice takes the mask of the nearest plane, resampled by nearest pixels where the pixels of
    the two differ. Slices beyond the mask's first and last plane, and in its gaps, are not
    annotated; those of a sparse mask are annotated and empty.

    Args:
      volume: The mask.
      planes: Planes of the slices, in any order, all of one size.

    Raises:
      MaskError: MASK_SIZE for slices of several sizes. MASK_MISALIGNED, if a slice lies between
        planes, half a spacing or more from the nearest; if planes are at an angle, no slice has a
        plane, or marked pixels lie outside of the images.
    """
    _check_size(planes)
    matches = match_planes(volume.planes, planes, sparse=volume.sparse)
    bits = np.zeros((len(planes), planes[0].rows, planes[0].columns), np.uint8)
    annotated = np.zeros(len(planes), np.int64)
    marked = lost = 0
    for index, (match, plane) in enumerate(zip(matches, planes, strict=True)):
        if match is None:
            annotated[index] = volume.annotated if volume.sparse else 0
            continue
        annotated[index] = volume.annotated
        mask = volume.bits[match]
        if not mask.any():
            continue
        source = volume.planes[match]
        bits[index] = resample(mask, source, plane)
        marked += int(np.count_nonzero(mask))
        lost += _num_outside(mask, source, plane)
    if lost > _MAX_LOST * marked:
        raise MaskError(
            MaskReason.MASK_MISALIGNED,
            f"marks {marked:,} pixels, of which {lost:,} lie outside of the images; expected the "
            "mask of this series.",
        )
    return PlacedMask(bits, annotated)


def place_image(volume: ImageVolume, planes: Sequence[Plane]) -> np.ndarray:
    """Places an image on slices as `place` does with a mask.

    Returns:
      float32 [n, rows, columns]; NaN where the image has no pixel.

    Raises:
      MaskError: MASK_SIZE, MASK_MISALIGNED.
    """
    _check_size(planes)
    placed = np.full((len(planes), planes[0].rows, planes[0].columns), np.nan, np.float32)
    for index, match in enumerate(match_planes(volume.planes, planes)):
        if match is not None:
            source = volume.planes[match]
            placed[index] = resample(volume.values[match], source, planes[index], np.nan)
    return placed


def match_planes(
    sources: Sequence[Plane], planes: Sequence[Plane], *, sparse: bool = False
) -> list[int | None]:
    """The nearest plane of a mask for each slice.

    Args:
      sources: Planes of the mask in their order along their normal.
      planes: Planes of the slices, in any order.
      sparse: Whether slices may lie between planes.

    Returns:
      Index of the plane for each slice; None for a slice that has none.

    Raises:
      MaskError: MASK_MISALIGNED.
    """
    normal = sources[0].normal
    source_places, places = places_mm(sources, normal), places_mm(planes, normal)
    source_gaps, gaps = gaps_mm(source_places), gaps_mm(places)
    finite = source_gaps[np.isfinite(source_gaps)]
    usual = float(np.median(finite)) if len(finite) else float(np.min(gaps))
    reach = (usual if np.isfinite(usual) else _USUAL_GAP_MM) / 2
    matches: list[int | None] = []
    for plane, gap in zip(planes, gaps, strict=True):
        # Planes are tilted together and may be off-centre: the distance is that from the plane.
        away = np.abs((plane.centre_mm - [source.position_mm for source in sources]) @ normal)
        nearest = int(np.argmin(away))
        # Any slice lies within half a spacing of fine planes; halfway between its own, none is it.
        half = min(float(gap) / 2 - _ROUNDING_MM, float(source_gaps[nearest]) / 2 + _ROUNDING_MM)
        half = half if np.isfinite(half) else _USUAL_GAP_MM / 2
        if away[nearest] <= half:
            _check_parallel(
                sources[nearest], plane, max(half, gap / 2 if np.isfinite(gap) else half)
            )
            matches.append(nearest)
        elif sparse or away[nearest] > reach + _ROUNDING_MM:
            matches.append(None)
        else:
            raise MaskError(
                MaskReason.MASK_MISALIGNED,
                f"has its nearest plane {away[nearest]:.2f} mm from a slice; expected less than "
                f"half the distance between slices or planes, {half:.1f} mm.",
            )
    matched = {match for match in matches if match is not None}
    if not matched or (sparse and len(matched) < _MIN_MATCHED * len(sources)):
        raise MaskError(
            MaskReason.MASK_MISALIGNED,
            f"has {len(sources)} planes from {source_places.min():.1f} to "
            f"{source_places.max():.1f} mm along their normal, {len(matched)} of them at slices, "
            f"which lie from {places.min():.1f} to {places.max():.1f} mm; expected the mask of "
            "this series.",
        )
    return matches


def resample(values: np.ndarray, source: Plane, plane: Plane, outside: float = 0) -> np.ndarray:
    """Values of the nearest pixels of another plane.

    Args:
      values: Values of the pixels of `source`, [rows, columns].
      source: Plane of the values.
      plane: Plane to return values for.
      outside: Value of pixels that `source` does not cover.
    """
    rows, columns = source.pixels(plane.corners_mm)
    same_rows = np.abs(rows - [0, 0, plane.rows - 1, plane.rows - 1]).max() < _SAME_PIXEL
    same_columns = (
        np.abs(columns - [0, plane.columns - 1, 0, plane.columns - 1]).max() < _SAME_PIXEL
    )
    if same_rows and same_columns and values.shape == (plane.rows, plane.columns):
        return values
    grid = np.mgrid[: plane.rows, : plane.columns].reshape(2, -1)
    at, inside = _nearest_pixels(source, plane.points_mm(grid[0], grid[1]))
    resampled = np.full(plane.rows * plane.columns, outside, values.dtype)
    resampled[inside] = values[at[0][inside], at[1][inside]]
    return resampled.reshape(plane.rows, plane.columns)


def _check_size(planes: Sequence[Plane]) -> None:
    sizes = sorted({(plane.rows, plane.columns) for plane in planes})
    if len(sizes) > 1:
        raise MaskError(
            MaskReason.MASK_SIZE,
            f"is of slices of {' and '.join(f'{rows} x {columns}' for rows, columns in sizes)} "
            "pixels; expected slices of one size.",
        )


def _num_outside(mask: np.ndarray, source: Plane, plane: Plane) -> int:
    """Number of marked pixels that lie outside of another plane."""
    rows, columns = np.nonzero(mask)
    _, inside = _nearest_pixels(plane, source.points_mm(rows, columns))
    return int(np.count_nonzero(~inside))


def _nearest_pixels(
    plane: Plane, points_mm: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Row and column of the pixel nearest to each point, and whether the plane has it."""
    # A grid of twice the pixels lies halfway between pixels: rounding must not decide.
    rows, columns = (
        np.floor(each + 0.5 - 1e-4).astype(np.int64) for each in plane.pixels(points_mm)
    )
    inside = (rows >= 0) & (rows < plane.rows) & (columns >= 0) & (columns < plane.columns)
    return (rows, columns), inside


def _check_parallel(source: Plane, plane: Plane, limit_mm: float) -> None:
    away = float(np.abs(source.distances_mm(plane.corners_mm)).max())
    if away > limit_mm + SAME_PLACE_MM:
        cosine = min(1.0, abs(float(source.normal @ plane.normal)))
        raise MaskError(
            MaskReason.MASK_MISALIGNED,
            f"has planes at an angle of {np.degrees(np.arccos(cosine)):.1f} degrees to the slices, "
            f"{away:.2f} mm apart at their corners; expected less than half the distance between "
            f"slices, {limit_mm:.2f} mm.",
        )
