"""What a picture of a slice says of itself: number, probabilities, operating point and sides."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from ich_tf.dicom.geometry import edge_directions
from ich_tf.labels import CLASSES
from ich_tf.reporting.algorithm import NOTE
from ich_tf.reporting.findings import SeriesFindings

# Least columns of a picture, so that its text can be read, and letters in a line of text.
_LEAST_COLUMNS, CHARACTERS = 512, 64
_SIDES = {
    "R": "right", "L": "left", "A": "front", "P": "back", "H": "top", "F": "bottom",
}  # fmt: skip


def describe_picture(findings: SeriesFindings, place: int, legend: str, name: str = "any") -> str:
    """Describes a slice and what is drawn on it, in words.

    Args:
      findings: Series of the slice.
      place: Place of the slice in the series, from 0.
      legend: Sentences about what is drawn.
      name: Class that comes first; others follow from their operating points on.
    """
    algorithm = findings.algorithm
    row = dict(zip(CLASSES, findings.probabilities[place].tolist(), strict=True))
    is_fitted = algorithm.slice_thresholds.get(name) is not None
    point = "operating point" if is_fitted else "no operating point, shown from"
    texts = [f"{name} {row[name]:.2f} ({point} {algorithm.slice_point(name):.2f})"]
    texts += [
        f"{other} {value:.2f}"
        for other, value in row.items()
        if other != name and value >= algorithm.slice_point(other)
    ]
    codes = ", ".join(each.code for each in findings.warnings)
    warnings = f" Warnings: {codes}, see the report." if codes else ""
    left = _SIDES[edge_directions(findings.images[place].orientation)["left"]]
    return (
        f"Slice {place + 1} of {len(findings.probabilities)}: {', '.join(texts)}. The left of the "
        f"picture is the patient's {left}.{warnings} {legend} {NOTE}. {algorithm.name}, "
        f"{algorithm.version}"
    )


def enlarged(picture: np.ndarray, orientation: tuple[float, ...]) -> tuple[np.ndarray, int]:
    """Enlarges a small picture, and writes the direction in the patient at each edge.

    Args:
      picture: RGB picture of a slice, uint8 [rows, columns, 3].
      orientation: Orientation of the slice, as in `dicom.Header`.

    Returns:
      The picture, and the number of its pixels for each row and column of the slice.
    """
    scale = -(-_LEAST_COLUMNS // picture.shape[1])
    large = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    _mark_edges(large, edge_directions(orientation))
    return large, scale


def _mark_edges(picture: np.ndarray, edges: Mapping[str, str]) -> None:
    rows, columns = picture.shape[:2]
    size = columns / 512
    step = round(24 * size)
    places = {
        "left": (step // 3, rows // 2),
        "right": (columns - step, rows // 2),
        "top": (columns // 2, step),
        "bottom": (columns // 2, rows - step // 2),
    }
    for edge, place in places.items():
        for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(
                picture, edges[edge], place, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * size, colour,
                max(1, round(width * size)), cv2.LINE_AA,
            )  # fmt: skip
