"""Grids of voxels, and the checks of masks and volumes on them."""

import re

import numpy as np
import pytest

from ich_tf import metrics
from ich_tf.metrics.surface_elements import surface_elements
from ich_tf.metrics.voxel_grid import (
    Axis,
    check_mask,
    check_masks,
    check_masks_on_grid,
    cut_to_marked,
    grid_of,
    marked_box,
    marked_ml,
    voxel_ml,
)


def test_an_axis_of_even_distances() -> None:
    axis = Axis.of(2.5, 3, "rows")
    assert axis.edges.tolist() == [0, 2.5, 5, 7.5] and axis.distances.tolist() == [2.5] * 4
    assert axis.extents.tolist() == [2.5] * 3


def test_an_axis_of_distances_between_slices() -> None:
    axis = Axis.of([5, 2, 3], 4, "slices")
    # Beyond the first slice, which has a gap behind it, no more than the usual distance.
    assert axis.distances.tolist() == [3, 5, 2, 3, 3]
    assert axis.edges.tolist() == [-1.5, 2.5, 6, 8.5, 11.5]
    assert axis.extents.tolist() == [4, 3.5, 2.5, 3]
    part = axis.part(slice(1, 3))
    assert part.edges.tolist() == [2.5, 6, 8.5] and part.distances.tolist() == [5, 2, 3]
    assert Axis.of([4], 2, "slices").extents.tolist() == [4, 4]


@pytest.mark.parametrize(
    ("spacing", "size", "message"),
    [
        (0, 3, "rows has values that are not above 0"),
        (np.inf, 3, "rows has values that are not above 0"),
        ([1, -1], 3, "rows has values that are not above 0"),
        ([1, 1, 1], 3, r"rows has shape (3,); expected one distance in mm, or 2 between 3 voxels."),
        ([[1, 1]], 3, "rows has shape (1, 2)"),
        ([], 1, r"rows has shape (0,); expected one distance in mm."),
    ],
)
def test_other_distances_are_refused(spacing: object, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Axis.of(spacing, size, "rows")


def test_a_grid_needs_a_distance_for_each_axis() -> None:
    grid = grid_of((3, 4, 5), ([1, 2], 0.5, 0.25))
    assert [len(axis.extents) for axis in grid] == [3, 4, 5]
    with pytest.raises(ValueError, match=r"has 2 values; .*\(3, 4, 5\) needs 3: .* slices, rows"):
        grid_of((3, 4, 5), (1, 1))
    with pytest.raises(ValueError, match="needs 2: the distances between rows, columns"):
        grid_of((4, 5), (1, 1, 1))
    for spacing in ((1, [1] * 3, 1), (1, 1, [1] * 4)):
        with pytest.raises(ValueError, match="varies within slices"):
            grid_of((3, 4, 5), spacing)
    with pytest.raises(ValueError, match=r"spacing_mm\[2\] has values"):
        grid_of((3, 4, 5), (1, 1, 0))


def test_masks_are_of_zeros_and_ones() -> None:
    marked = np.array([[True, False]])
    assert check_mask(marked, "mask") is marked
    for dtype in (np.uint8, float):
        found = check_mask(marked.astype(dtype), "mask")
        assert found.dtype == bool and found.tolist() == [[True, False]]
    for name, masks in {
        "reference": ([[2, 0]], marked),
        "prediction": (marked, [[0, -1]]),
    }.items():
        with pytest.raises(ValueError, match=f"{name} has values other than 0 and 1"):
            check_masks(*masks)
    with pytest.raises(ValueError, match=r"prediction has shape \(2,\); reference has \(1, 2\)"):
        check_masks(marked, [0, 1])
    for shape in ((3,), (2, 2, 2, 2)):
        with pytest.raises(ValueError, match="masks have shape"):
            check_masks_on_grid(np.zeros(shape), np.zeros(shape), (1,) * len(shape))
    true, predicted, grid = check_masks_on_grid([[1, 0]], [[0, 1]], (2, 3))
    assert (true.tolist(), predicted.tolist()) == ([[True, False]], [[False, True]])
    assert [axis.extents.tolist() for axis in grid] == [[2], [3, 3]]


def test_what_is_marked_is_cut_out_with_its_grid() -> None:
    true, predicted = np.zeros((2, 5, 6, 7), bool)
    true[1, 2, 3] = predicted[3, 4, 1] = True
    assert marked_box(true | predicted) == (slice(1, 4), slice(2, 5), slice(1, 4))
    grid = grid_of(true.shape, ([1, 2, 4, 8], 0.5, 0.25))
    cut_true, cut_predicted, cut_grid = cut_to_marked(true, predicted, grid)
    assert cut_true.shape == cut_predicted.shape == (3, 3, 3)
    assert np.argwhere(cut_true).tolist() == [[0, 0, 2]]
    assert np.argwhere(cut_predicted).tolist() == [[2, 2, 0]]
    assert cut_grid[0].extents.tolist() == grid[0].extents[1:4].tolist()
    assert marked_box(np.zeros((2, 3), bool)) == (slice(0, 0), slice(0, 0))


def test_volumes_are_of_extents() -> None:
    mask = np.zeros((3, 4, 5), bool)
    mask[0, 0, 0] = mask[2, 3, 4] = mask[2, 3, 3] = True
    grid = grid_of(mask.shape, ([2, 6], 0.5, 0.25))
    places = np.nonzero(mask)
    np.testing.assert_allclose(voxel_ml(places, grid), np.array([2, 4, 4]) * 0.125e-3)
    assert marked_ml(mask, grid) == pytest.approx(10 * 0.125e-3)
    assert marked_ml(mask[2], grid[1:]) == pytest.approx(2 * 0.125e-3)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.5, 0.25)])
def test_a_single_voxel_is_an_octahedron(spacing: tuple[float, ...]) -> None:
    """Its eight faces cut the axes halfway to the neighbours."""
    a, b, c = (size / 2 for size in spacing)
    face = np.sqrt((a * b) ** 2 + (b * c) ** 2 + (a * c) ** 2) / 2
    cells, areas = surface_elements(np.ones((1, 1, 1), bool), grid_of((1, 1, 1), spacing))
    assert cells.all() and cells.shape == (2, 2, 2)
    np.testing.assert_allclose(areas, np.full(8, face))
    cells, lengths = surface_elements(np.ones((1, 1), bool), grid_of((1, 1), spacing[1:]))
    np.testing.assert_allclose(lengths, np.full(4, np.hypot(b, c)))
    # A rectangle of 2 x 3 pixels: its straight sides, and four cut corners.
    grid = grid_of((2, 3), spacing[1:])
    around = 2 * 1 * spacing[1] + 2 * 2 * spacing[2] + 4 * np.hypot(b, c)
    assert surface_elements(np.ones((2, 3), bool), grid)[1].sum() == pytest.approx(around)
    # Two pixels that touch in a corner are apart.
    diagonal = np.eye(2, dtype=bool)
    lengths = surface_elements(diagonal, grid_of((2, 2), spacing[1:]))[1]
    assert lengths.sum() == pytest.approx(8 * np.hypot(b, c))


def test_voxels_that_touch_in_a_corner_are_apart() -> None:
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    grid = grid_of(mask.shape, (1, 1, 1))
    # Two octahedra of 8 faces each; the cell between them holds a face of either.
    assert surface_elements(mask, grid)[1].sum() == pytest.approx(16 * np.sqrt(3) / 8)
    # Of a full block, one voxel is missing: its corner is cut off, as one marked voxel's is.
    whole, hole = np.ones((2, 2, 2), bool), np.ones((3, 3, 3), bool)
    hole[1, 1, 1] = False
    inside = surface_elements(hole, grid_of(hole.shape, (1, 1, 1)))[1].sum()
    outside = surface_elements(np.ones((3, 3, 3), bool), grid_of(hole.shape, (1, 1, 1)))[1].sum()
    assert inside - outside == pytest.approx(np.sqrt(3))
    # A cube of two voxels: squares of one voxel, halves of edges, and cut corners.
    edges = 12 * np.hypot(0.5, 0.5)
    assert surface_elements(whole, grid)[1].sum() == pytest.approx(6 + edges + np.sqrt(3))


def test_agreement_of_volumes() -> None:
    # As bytes, 1 - 3 would be 254.
    agreement = metrics.bland_altman(np.array([3, 3], np.uint8), np.array([1, 7], np.uint8))
    assert (agreement.bias_ml, agreement.sd_ml) == (1, pytest.approx(np.sqrt(18)))
    assert agreement.low_ml == pytest.approx(1 - 1.959963984540054 * np.sqrt(18))
    assert np.isnan(metrics.bland_altman([1, 2], [1, 2], [0, 0]).bias_ml)
    half = metrics.bland_altman([1, 2], [1, 4], [0.25, 0.25])
    assert half.bias_ml == 1 and np.isnan(half.sd_ml)
    assert metrics.bland_altman([0], [0]).bias_ml == 0
    for weight in ([1, np.nan], [1, -1], [1], [[1], [1]]):
        with pytest.raises(ValueError, match="sample_weight has shape"):
            metrics.bland_altman([1, 2], [1, 2], weight)
    for name, volumes in {"reference_ml": ([-1], [1]), "predicted_ml": ([1], [np.inf])}.items():
        with pytest.raises(ValueError, match=f"{name} must be finite, and 0 or more"):
            metrics.bland_altman(*volumes)
    with pytest.raises(ValueError, match=r"expected \(n,\)"):
        metrics.bland_altman([[1]], [[1]])
    with pytest.raises(ValueError, match="^mask has values other than 0 and 1"):
        metrics.volume_ml([[[2]]], (1, 1, 1))
