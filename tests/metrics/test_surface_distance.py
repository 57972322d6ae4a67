"""Surfaces of masks, against other implementations' figures, and distances of all pairs."""

import itertools
import time
from typing import Any

import numpy as np
import pytest

from ich_tf import metrics
from ich_tf.metrics.surface_elements import surface_elements
from ich_tf.metrics.voxel_grid import grid_of


def ellipsoid(shape: Any, centre: Any, radii: Any) -> np.ndarray:
    axes = np.ogrid[tuple(map(slice, shape))]
    parts = [((at - c) / r) ** 2 for at, c, r in zip(axes, centre, radii, strict=True)]
    return np.asarray(sum(parts) < 1)


def speckle(shape: Any, every: int) -> np.ndarray:
    """Marked voxels without order: all ways in which a surface can cross a cell."""
    return np.asarray(np.arange(np.prod(shape)).reshape(shape) ** 2 % 101 % every == 0)


SHAPE = (7, 24, 20)
FLAT = (24, 20)
PAIRS = {
    "moved": (
        ellipsoid(SHAPE, (3, 11, 9), (2.5, 7, 6)),
        ellipsoid(SHAPE, (3.4, 12, 10), (2.2, 7, 5)),
        (5.0, 0.45, 0.45),
    ),
    "at the border": (
        ellipsoid(SHAPE, (0, 0, 0), (3, 9, 9)),
        ellipsoid(SHAPE, (0, 1, 19), (3, 9, 14)),
        (5.0, 0.45, 0.5),
    ),
    "speckle": (speckle(SHAPE, 2), speckle(SHAPE, 3), (3.0, 0.7, 1.1)),
    "one voxel": (
        ellipsoid(SHAPE, (2, 5, 5), (0.5, 0.5, 0.5)),
        ellipsoid(SHAPE, (4, 20, 9), (0.5, 0.5, 0.5)),
        (5.0, 0.45, 0.45),
    ),
    "two axes": (
        ellipsoid(FLAT, (11, 9), (7, 6)),
        ellipsoid(FLAT, (13, 8), (6, 6)),
        (0.5, 0.9),
    ),
    "speckle, two axes": (speckle(FLAT, 2), speckle(FLAT, 3), (0.7, 1.1)),
}


# Of surface-distance 0.1: area of both, surface Dice at 2 and at 0.8 mm, HD95, HD100; and of MedPy
# 0.5.2: Dice.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("moved", (418.3726926757, 320.8925554076, 0.9512996943, 0.8521948049, 5.0, 5.0202091590)),
        (
            "at the border",
            (
                231.2105628969,
                330.0558102575,
                0.4358296019,
                0.2524931259,
                5.9424321620,
                6.8784082461,
            ),
        ),
        ("speckle", (7350.3430696349, 4570.3130142725, 0.9999581966, 0.9884663369, 0.7, 2.2)),
        ("one voxel", (3.1884175150, 3.1884175150, 0.0, 0.0, 12.1984630179, 12.1984630179)),
        ("two axes", (29.0956301410, 27.0956301410, 1.0, 0.4282884386, 1.5, 1.7492855685)),
        ("speckle, two axes", (369.2759246631, 265.5991150423, 1.0, 0.9533313991, 1.1, 1.4)),
    ],
)
def test_equals_surface_distance(name: str, expected: Any) -> None:
    distances = metrics.surface_distances(*PAIRS[name])
    found = (
        distances.reference_area.sum(),
        distances.predicted_area.sum(),
        distances.dice(),
        distances.dice(0.8),
        distances.hausdorff(),
        distances.hausdorff(100),
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert metrics.surface_dice(*PAIRS[name], tolerance_mm=0.8) == found[3]
    assert metrics.hausdorff_distance(*PAIRS[name]) == found[4]


def crossed(mask: np.ndarray, edges: Any) -> np.ndarray:
    """Positions of the corners at which marked and unmarked voxels meet, by a loop over all."""
    padded = np.pad(mask, 1)
    points = []
    for corner in itertools.product(*(range(size + 1) for size in mask.shape)):
        around = padded[tuple(slice(at, at + 2) for at in corner)]
        if around.any() and not around.all():
            points.append([edge[at] for at, edge in zip(corner, edges, strict=True)])
    return np.array(points)


@pytest.mark.parametrize("between", [2.0, [1.0, 4.0, 2.5, 2.5, 6.0]])
def test_distances_are_the_least_of_all_pairs(between: Any) -> None:
    rng = np.random.default_rng(0)
    centres = np.cumsum([0, *np.broadcast_to(between, 5)])
    middles = (centres[1:] + centres[:-1]) / 2
    first, last = np.diff(centres)[[0, -1]]
    edges = (
        [-first / 2, *middles, centres[-1] + last / 2],
        np.arange(9) * 0.7,
        np.arange(10) * 1.3,
    )
    for share in (0.02, 0.1, 0.5):
        true, predicted = rng.random((2, 6, 8, 9)) < share
        found = metrics.surface_distances(true, predicted, (between, 0.7, 1.3))
        points, others = crossed(true, edges), crossed(predicted, edges)
        pairs = np.linalg.norm(points[:, None] - others[None], axis=-1)
        np.testing.assert_allclose(found.reference_mm, pairs.min(axis=1), atol=1e-12)
        np.testing.assert_allclose(found.predicted_mm, pairs.min(axis=0), atol=1e-12)


def test_areas_follow_the_distances_between_slices() -> None:
    """The walls of a tower are as high as the distances between the centres of its slices."""
    tower = np.zeros((6, 12, 12), bool)
    tower[:, 2:10, 2:10] = True
    between = [2.5, 2.5, 5.0, 5.0, 6.0]
    cells, areas = surface_elements(tower, grid_of(tower.shape, (between, 0.5, 0.5)))
    layers = np.split(areas, np.cumsum(cells.reshape(7, -1).sum(axis=1))[:-1])
    # Around each layer are 28 whole elements, and 4 that cut the corners.
    around = 28 * 0.5 + 4 * np.hypot(0.25, 0.25)
    np.testing.assert_allclose(
        [layer.sum() for layer in layers[1:-1]], np.multiply(around, between)
    )


def test_tolerance_is_met_at_the_last_bit() -> None:
    """Between 0.3 and 0.6 mm lie 0.3 mm, whatever they are in binary."""
    true, predicted = np.zeros((2, 1, 12), bool)
    true[0, 2], predicted[0, 3] = True, True
    for column in range(1, 9):
        for spacing in (0.1, 0.3, 0.7):
            moved = (np.roll(mask, column - 1, axis=1) for mask in (true, predicted))
            assert metrics.surface_dice(*moved, (1, spacing), tolerance_mm=spacing) == 1


def test_what_is_empty() -> None:
    nothing, some = np.zeros((2, 4, 5, 6), bool)
    some[1, 2, 3] = True
    spacing = (5, 0.5, 0.5)
    for prediction in (nothing, some):
        distances = metrics.surface_distances(nothing, prediction, spacing)
        assert np.isnan([distances.dice(), distances.hausdorff()]).all()
    missed = metrics.surface_distances(some, nothing, spacing)
    assert (missed.dice(), missed.hausdorff()) == (0, np.inf)


def test_what_lies_around_changes_nothing() -> None:
    true, predicted, spacing = PAIRS["at the border"]
    expected = metrics.surface_distances(true, predicted, spacing)
    wider = metrics.surface_distances(np.pad(true, 3), np.pad(predicted, 3), spacing)
    assert wider.dice() == pytest.approx(expected.dice(), abs=1e-12)
    assert wider.hausdorff(90) == pytest.approx(expected.hausdorff(90), abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 3, 4)), np.zeros((2, 3, 5)), (1, 1, 1)), "prediction has shape"),
        ((np.zeros((2, 3, 4)), np.full((2, 3, 4), 0.3), (1, 1, 1)), "other than 0 and 1"),
        ((np.zeros((2, 3, 4)), np.full((2, 3, 4), np.nan), (1, 1, 1)), "other than 0 and 1"),
        ((np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), (1, 1)), "has 2 values; .* needs 3"),
        ((np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), (0, 1, 1)), r"spacing_mm\[0\].*above 0"),
        ((np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), ([1, 2], 1, 1)), "or 1 between 2 voxels"),
        ((np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), (1, [1, 1], 1)), "varies within slices"),
        ((np.zeros(3), np.zeros(3), (1,)), r"expected \(slices, rows, columns\)"),
    ],
)
def test_bad_input_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.surface_distances(*arguments)


def test_bad_options_are_refused() -> None:
    distances = metrics.surface_distances(*PAIRS["moved"])
    with pytest.raises(ValueError, match="tolerance_mm is -1"):
        distances.dice(-1)
    with pytest.raises(ValueError, match="percentile is 0"):
        distances.hausdorff(0)


@pytest.mark.slow
def test_a_whole_series_takes_well_under_a_second_a_class() -> None:
    shape, spacing = (40, 512, 512), (5.0, 0.45, 0.45)
    true = ellipsoid(shape, (20, 250, 250), (5.2, 58, 58))  # 74 ml
    predicted = ellipsoid(shape, (20, 254, 253), (5, 56, 56))
    metrics.score_series(true[:, :9], predicted[:, :9], spacing)  # imports, and the table of areas
    began = time.process_time()
    scores = metrics.score_series(true, predicted, spacing)
    seconds = time.process_time() - began
    print(f"{scores.reference_ml:.0f} ml in {seconds:.3f} s")
    assert seconds < 0.5
