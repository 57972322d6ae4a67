"""Headers of made-up slices, and masks of an ellipsoid that lies in them."""

from collections.abc import Sequence

import numpy as np

from ich_tf.dicom.header import Header

CENTER_MM = np.array([4.0, -3.0, 40.0])


def made_headers(
    places_mm: Sequence[float],
    *,
    tilt_deg: float = 0.0,
    sheared: bool = True,
    side: int = 64,
    spacing_mm: float = 1.0,
    thickness_mm: float = 0.0,
    series: str = "1.2.826.0.1.3",
) -> list[Header]:
    """Headers of parallel slices.

    Args:
      places_mm: Table position of each slice, mm along z; along the normal if not `sheared`.
      tilt_deg: Gantry tilt.
      sheared: Whether the table moves along z, as in a scanner, or along the slices' normal.
      side: Rows and columns of a slice.
      spacing_mm: Distance between pixels.
      thickness_mm: Thickness of the slices.
      series: Series instance UID.
    """
    angle = np.deg2rad(tilt_deg)
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(angle), np.sin(angle)])
    step = np.array([0, 0, 1.0]) if sheared else np.cross(row, column)
    corner = CENTER_MM * (1, 1, 0) - (row + column) * (side - 1) / 2 * spacing_mm
    return [
        Header(
            image_id=f"{series}.{number}",
            patient_id="P1",
            study_id="1.2.826.0.1",
            series_id=series,
            rows=side,
            columns=side,
            position_mm=tuple(corner + place * step),
            orientation=(*row, *column),
            spacing_mm=(spacing_mm, spacing_mm),
            thickness_mm=thickness_mm,
        )
        for number, place in enumerate(places_mm)
    ]


def ellipsoid_bits(
    headers: Sequence[Header], radii_mm: Sequence[float], bits: int = 0b100010
) -> list[np.ndarray]:
    """Masks of an ellipsoid around `CENTER_MM`, in patient coordinates."""
    masks = []
    for header in headers:
        row, column = np.array(header.orientation[:3]), np.array(header.orientation[3:])
        i, j = np.indices((header.rows, header.columns))
        points = (
            np.array(header.position_mm)
            + row * (j * header.spacing_mm[1])[..., None]
            + column * (i * header.spacing_mm[0])[..., None]
        )
        inside = (((points - CENTER_MM) / radii_mm) ** 2).sum(axis=-1) <= 1
        masks.append(np.where(inside, bits, 0).astype(np.uint8))
    return masks
