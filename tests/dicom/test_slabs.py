"""Slabs: which thin slices are averaged."""

import pytest

from ich_tf.dicom.slabs import slab_groups


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
