"""ABC/2: the volume of a bleed from three lengths, as it is estimated at the bedside.

A is the longest line within a bleed in the slice where its area is greatest, B the longest line at
a right angle to A in the same slice, C the height. C counts a slice in full whose area is more than
three quarters of the greatest, half if it is more than a quarter, and else not (Kothari et al.,
Stroke 1996, 27:1304). An ellipsoid has the volume pi/6 ABC, nearly ABC/2.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy import ndimage

from ich_tf.labels import CLASSES
from ich_tf.masks.bits import unpack

_MM3_PER_ML = 1000.0
_WHOLE, _HALF = 0.75, 0.25


def abc2_ml(
    bits: Sequence[np.ndarray],
    spacings_mm: Sequence[tuple[float, float]],
    extents_mm: np.ndarray,
) -> np.ndarray:
    """Estimates the volume of each class: ABC/2 of each bleed (26-connected), summed.

    Args:
      bits: Masks of the slices along their normal, uint8 [rows, columns] each, all of one size.
      spacings_mm: Distance between rows, and between columns, of each slice.
      extents_mm: Length along the normal that each slice stands for, mm, [n].

    Returns:
      Millilitres, float64 [6].
    """
    volumes = np.zeros(len(CLASSES))
    # The part that has marks: of a series of thin slices six masks are a gigabyte.
    touched = np.bitwise_or.reduce(bits)
    if not touched.any():
        return volumes
    rows, columns = (np.flatnonzero(touched.any(axis=axis)) for axis in (1, 0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    marked = np.stack([unpack(mask[part]) for mask in bits], axis=1)
    for k, mask in enumerate(marked):
        pieces, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
        for number, box in enumerate(ndimage.find_objects(pieces), 1):
            slices = range(*box[0].indices(len(bits)))
            piece = pieces[box] == number
            volumes[k] += _piece_mm3(piece, [spacings_mm[i] for i in slices], extents_mm[box[0]])
    return volumes / _MM3_PER_ML


def _piece_mm3(
    piece: np.ndarray, spacings_mm: Sequence[tuple[float, float]], extents_mm: np.ndarray
) -> float:
    """ABC/2 of one bleed, bool [n, rows, columns]."""
    areas = piece.sum(axis=(1, 2)) * np.prod(spacings_mm, axis=1)
    largest = int(areas.argmax())
    shares = areas / areas[largest]
    weights = np.where(shares > _WHOLE, 1.0, np.where(shares > _HALF, 0.5, 0.0))
    a, b = _diameters_mm(piece[largest], spacings_mm[largest])
    return float(a * b * (weights @ extents_mm) / 2)


def _diameters_mm(mask: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """Longest line between two points of a mask, and the longest across it at a right angle."""
    rows, columns = np.nonzero(mask)
    # The corners of the pixels: a pixel has a size.
    corners = np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
    centers = np.stack([rows, columns], axis=1).astype(np.float64)
    points = (centers[:, None] + corners).reshape(-1, 2) * spacing_mm
    hull = cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)
    between = hull[:, None] - hull
    lengths = np.hypot(between[..., 0], between[..., 1])
    i, j = np.unravel_index(lengths.argmax(), lengths.shape)
    longest = float(lengths[i, j])
    along = between[i, j] / longest
    # In strips across the longest line, as wide as a pixel, from the first corner to the last.
    strips = np.floor(points @ along / max(spacing_mm)).astype(np.int64)
    across = points @ np.array([-along[1], along[0]])
    strips -= strips.min()
    first = np.full(strips.max() + 1, np.inf)
    last = np.full(strips.max() + 1, -np.inf)
    np.minimum.at(first, strips, across)
    np.maximum.at(last, strips, across)
    return longest, float((last - first).max())
