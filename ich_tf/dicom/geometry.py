"""Where slices lie: the common normal of several slices, positions along it, and their order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ich_tf.dicom.header import Header


def series_normal(headers: Sequence[Header]) -> np.ndarray:
    """Mean unit normal of a series' slices, float64 [3].

    Normals of mirrored slices point the other way. They count with the sign of the majority (of
    equal numbers, towards the head), so that a mean exists and every slice has a place on it.

    Args:
      headers: Headers of axial slices, one or more.
    """
    normals = np.array([header.normal for header in headers])
    upward = normals[:, 2] > 0  # never zero: `make_header` accepts axial slices alone
    sign = 1.0 if 2 * np.count_nonzero(upward) >= len(upward) else -1.0
    if not upward.all() and upward.any():
        normals = np.where(upward[:, None], normals, -normals) * sign
    mean = normals.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def position_along(header: Header, normal: np.ndarray) -> float:
    """Position of a slice along `normal`, mm.

    Rounded to 1 um, so that headers that differ in the last digit have a stable order.
    """
    return round(float(np.dot(header.position_mm, normal)), 3)


def places_along(headers: Sequence[Header]) -> list[float]:
    """Position of each slice along the normal of all of them, mm."""
    normal = series_normal(headers)
    return [position_along(header, normal) for header in headers]


def order_along(headers: Sequence[Header]) -> list[int]:
    """Indices of slices in their order along their normal; at equal positions, by image id."""
    places = places_along(headers)
    return sorted(range(len(headers)), key=lambda i: (places[i], headers[i].image_id))


def edge_directions(orientation: Sequence[float]) -> dict[str, str]:
    """Direction in the patient at each edge of an image: R, L, A, P, H or F.

    Args:
      orientation: Unit vectors along a row and along a column, 6 numbers; patient coordinates point
        to the left, to the back and to the head (PS3.3 C.7.6.2.1.1).

    Examples:
      >>> edge_directions((1, 0, 0, 0, 1, 0))
      {'left': 'R', 'right': 'L', 'top': 'A', 'bottom': 'P'}
    """

    def ends(direction: Sequence[float]) -> str:
        axis = max(range(3), key=lambda i: abs(direction[i]))
        pair = ("RL", "AP", "FH")[axis]
        return pair if direction[axis] >= 0 else pair[::-1]

    along_row, along_column = ends(orientation[:3]), ends(orientation[3:])
    return dict(zip(("left", "right", "top", "bottom"), along_row + along_column, strict=True))
