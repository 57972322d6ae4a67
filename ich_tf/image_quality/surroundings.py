"""What is outside the head: holder, table, pillow, cables; and where the head lies in the image."""

from __future__ import annotations

import numpy as np

from ich_tf.image_quality.regions import Regions, within
from ich_tf.image_quality.statistics import Statistic, Values, nothing

STATISTICS = (
    Statistic("outside_dense_cm2", "cm2", "area outside the head above -300 HU: holder", 1.0),
    Statistic("outside_light_cm2", "cm2", "area outside between -900 and -300 HU: foam", 2.0),
    Statistic("outside_hu", "HU", "median of what is above -300 HU outside", 40.0),
    Statistic("air_hu", "HU", "median of the air around the head", 3.0),
    Statistic("air_noise_hu", "HU", "spread of the air: 1.4826 times its median deviation", 2.0),
    Statistic("air_haze_hu", "HU", "99th percentile minus median of air 8 to 25 mm away", 5.0),
    Statistic("view_mm", "mm", "side of the image", 5.0),
    Statistic("off_centre_mm", "mm", "distance of the head's middle from the image's", 4.0),
    Statistic("margin_mm", "mm", "least distance of the head from the image's edge", 4.0),
)
_FAR_MM = 5.0
_LIGHT_HU = -900.0
_DENSE_HU = -300.0
_PADDING_HU = -1023.0


def surroundings_statistics(hu: np.ndarray, regions: Regions, pixel_mm: float) -> Values:
    """Statistics of each slice that shows a head.

    Args:
      hu: Hounsfield units, float32 [slices, rows, columns].
      regions: Regions of the series.
      pixel_mm: Side of a pixel.
    """
    values = {statistic.name: nothing(len(hu)) for statistic in STATISTICS}
    rows, columns = hu.shape[1:]
    axis = np.hypot(
        (np.arange(rows)[:, None] - (rows - 1) / 2) / rows,
        (np.arange(columns) - (columns - 1) / 2) / columns,
    )
    seen = axis < 0.495  # a scanner reconstructs a circle, and pads the corners
    for index, plane in enumerate(hu):
        head = regions.head[index]
        if not head.any():
            continue
        near = within(head, _FAR_MM, pixel_mm)
        outside = plane[seen & ~near]
        dense = outside > _DENSE_HU
        light = (outside > _LIGHT_HU) & ~dense
        air = outside[outside < _LIGHT_HU]
        around = plane[seen & within(head, 25.0, pixel_mm) & ~within(head, 8.0, pixel_mm)]
        around = around[around < _LIGHT_HU]
        down, right = np.nonzero(head)
        middle = np.array([np.ptp(down) / 2 + down.min(), np.ptp(right) / 2 + right.min()])
        off = (middle - (np.array(hu.shape[1:]) - 1) / 2) * pixel_mm
        margins = (down.min(), right.min(), rows - 1 - down.max(), columns - 1 - right.max())
        measured = {
            "outside_dense_cm2": dense.sum() * pixel_mm**2 / 100,
            "outside_light_cm2": light.sum() * pixel_mm**2 / 100,
            "outside_hu": np.median(outside[dense]) if dense.sum() > 30 else np.nan,
            "air_hu": np.median(air) if air.size > 30 else np.nan,
            "air_noise_hu": _spread(air) if air.size > 30 else np.nan,
            "air_haze_hu": np.percentile(around, 99) - np.median(around)
            if around.size > 30
            else np.nan,
            "view_mm": rows * pixel_mm,
            "off_centre_mm": np.hypot(*off),
            "margin_mm": min(margins) * pixel_mm,
        }
        for name, value in measured.items():
            values[name][index] = value
    return values


def _spread(air: np.ndarray) -> float:
    """Robust standard deviation of air that is not clipped."""
    return float(1.4826 * np.median(np.abs(air - np.median(air))))
