"""Volumes of the bleeds of a series: areas of the slices, and distances between their planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ich_tf.dicom.geometry import places_along
from ich_tf.dicom.header import Header
from ich_tf.inference.masks.abc2 import abc2_ml
from ich_tf.inference.postprocessing.volume_error import VolumeError
from ich_tf.labels import CLASSES
from ich_tf.masks.bits import unpack
from ich_tf.metrics.extents import planes_of, slice_extents_mm

_MM3_PER_ML = 1000.0


@dataclass(frozen=True, eq=False)
class SeriesVolumes:
    """Volumes of a series, millilitres, float64 [6] each, by class.

    Attributes:
      ml: Sum over the slices of area times the length that the slice stands for.
      low_ml, high_ml: Least and greatest volume with these areas, if the area between two planes
        lies between the areas in them. What a model has missed or added is not in it.
      likely_low_ml, likely_high_ml: Least and greatest volume of what experts would mark in these
        slices, of nine in ten series; NaN where it is not known, and where nothing is marked.
      abc2_ml: Estimate of the same masks by ABC/2, the rule of the bedside.
    """

    ml: np.ndarray
    low_ml: np.ndarray
    high_ml: np.ndarray
    likely_low_ml: np.ndarray
    likely_high_ml: np.ndarray
    abc2_ml: np.ndarray

    def by_kind(self) -> dict[str, dict[str, float | None]]:
        """Kind, such as `ml`, -> class -> volume to the microlitre, None if it is not known."""
        return {field.name: _by_class(getattr(self, field.name)) for field in fields(self)}


def series_volumes(
    bits: Sequence[np.ndarray],
    headers: Sequence[Header],
    errors: Sequence[VolumeError | None] = (),
) -> SeriesVolumes:
    """Measures the bleeds of one pass of a series.

    The lengths that slices stand for (`slice_extents_mm`) are those along their common normal, so
    a tilted gantry, whose table moves by more than that, counts no tissue twice. They follow from
    the planes and not from the slices' thickness.

    Args:
      bits: Mask of each slice, uint8 [rows, columns], bit k for class k of `labels.CLASSES`.
      headers: Header of each slice, in the same order.
      errors: Error of the volumes of each class (`Postprocessing.volume_errors`); empty, or None of
        a class, where it is not known.

    Returns:
      Volumes; NaN for one slice of unknown thickness.
    """
    places = np.array(places_along(headers))
    order = np.argsort(places, kind="stable")
    bits, headers, places = [bits[i] for i in order], [headers[i] for i in order], places[order]
    thickness_mm = float(np.median([header.thickness_mm for header in headers]))
    areas = np.array(
        [
            unpack(mask).sum(axis=(1, 2)) * np.prod(header.spacing_mm)
            for mask, header in zip(bits, headers, strict=True)
        ]
    )
    extents = slice_extents_mm(places, thickness_mm)
    low, high = _bounds(areas, places, extents)
    ml = extents @ areas / _MM3_PER_ML
    likely = [
        (np.nan, np.nan) if error is None else error.interval(value)
        for error, value in zip(errors or [None] * len(ml), ml, strict=True)
    ]
    likely_low, likely_high = np.array(likely).T
    return SeriesVolumes(
        ml=ml,
        low_ml=low / _MM3_PER_ML,
        high_ml=high / _MM3_PER_ML,
        likely_low_ml=likely_low,
        likely_high_ml=likely_high,
        abc2_ml=abc2_ml(bits, [header.spacing_mm for header in headers], extents),
    )


def _by_class(values: np.ndarray) -> dict[str, float | None]:
    return {
        name: None if np.isnan(value) else round(float(value), 3)
        for name, value in zip(CLASSES, values, strict=True)
    }


def _bounds(
    areas: np.ndarray, places_mm: np.ndarray, extents_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest volume, mm3 [6] each, with areas between those of neighbouring planes."""
    planes, plane_of = planes_of(places_mm)
    counts = np.bincount(plane_of)
    in_plane = np.zeros((len(planes), areas.shape[1]))
    np.add.at(in_plane, plane_of, areas / counts[plane_of, None])
    steps = np.diff(planes)[:, None]
    ends = np.zeros(len(planes))
    total = np.bincount(plane_of, extents_mm)
    if len(planes) == 1:
        return np.zeros(areas.shape[1]) * total[0], 2 * total[0] * in_plane[0]
    ends[0] = total[0] - steps[0, 0] / 2
    ends[-1] = total[-1] - steps[-1, 0] / 2
    low = (steps * np.minimum(in_plane[:-1], in_plane[1:])).sum(axis=0)
    high = (steps * np.maximum(in_plane[:-1], in_plane[1:])).sum(axis=0) + ends @ in_plane
    return low, high
