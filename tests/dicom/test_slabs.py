"""Slabs: which thin slices are averaged."""

import math

import pytest

from ich_tf.dicom.header import Header
from ich_tf.dicom.slabs import seams_of, slab_groups


@pytest.mark.parametrize(
    ("places", "slab_mm", "sizes"),
    [
        ([k * 1.0 for k in range(12)], 5.0, [5, 5, 2]),
        ([k * 0.625 for k in range(17)], 5.0, [8, 8, 1]),
        ([k * 0.5 for k in range(10)], 5.0, [10]),
        ([k * 3.0 for k in range(5)], 5.0, [2, 2, 1]),
        ([k * 4.0 for k in range(3)], 5.0, [1, 1, 1]),
        ([k * 5.0 for k in range(3)], 5.0, [1, 1, 1]),
        ([k * 1.0 for k in range(4)], 0.0, [1, 1, 1, 1]),
        ([0.0, 1.0, 2.0, 9.0, 10.0, 11.0], 5.0, [3, 3]),
        ([0.0], 5.0, [1]),
        ([0.0, 0.0], 5.0, [1, 1]),
    ],
)
def test_slabs_of_consecutive_slices(places: list[float], slab_mm: float, sizes: list[int]) -> None:
    groups = slab_groups(places, slab_mm)
    assert [len(group) for group in groups] == sizes
    assert [i for group in groups for i in group] == list(range(len(places)))


AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
TILTED = (1.0, 0.0, 0.0, 0.0, math.cos(0.5), math.sin(0.5))


def header(place: float, **changes: object) -> Header:
    values = {
        "image_id": "1", "patient_id": "p", "study_id": "2", "series_id": "3", "rows": 64,
        "columns": 64, "position_mm": (0.0, 0.0, place), "orientation": AXIAL,
        "spacing_mm": (0.5, 0.5),
    }  # fmt: skip
    return Header(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "is_seam"),
    [
        ({}, False),
        ({"rows": 32}, True),
        ({"spacing_mm": (0.4, 0.4)}, True),
        ({"orientation": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}, True),
        ({"orientation": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)}, True),
        ({"orientation": TILTED}, True),
        ({"position_mm": (9.0, 0.0, 3.0)}, True),
        # In the last digits of a text, and by less than a pixel.
        ({"spacing_mm": (0.50001, 0.5)}, False),
        ({"position_mm": (0.3, 0.0, 3.0)}, False),
    ],
)
def test_no_slab_joins_pixels_of_different_places(changes: dict, is_seam: bool) -> None:
    headers = [header(0.0), header(1.0), header(2.0), header(3.0, **changes)]
    seams = seams_of(headers)
    assert seams == ({3} if is_seam else set())
    groups = slab_groups([0, 1, 2, 3], 4.0, seams)
    assert groups == ([[0, 1, 2], [3]] if is_seam else [[0, 1, 2, 3]])


def test_a_tilted_gantry_makes_no_seams() -> None:
    """Its slices follow the table, and so move along their own columns."""
    headers = [header(0.0, position_mm=(0.0, 0.0, 0.6 * i), orientation=TILTED) for i in range(9)]
    assert seams_of(headers) == set()
