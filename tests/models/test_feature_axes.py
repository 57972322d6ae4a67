import numpy as np
import pytest
import tensorflow as tf

from ich_tf.models.feature_axes import fit_axes, principal_axes


def two_networks(number: int, width: int, noise: float = 0.05):
    """Features of two networks that see the same 6 things, each in axes of its own."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(number, 6)) * [5, 4, 3, 2, 1, 1]
    return [
        seen @ rng.normal(size=(6, width)) + noise * rng.normal(size=(number, width)) + offset
        for offset in (3.0, -1.0)
    ]


def test_principal_axes_are_uncorrelated_and_of_variance_1() -> None:
    first, _ = two_networks(500, 40)
    axes = principal_axes(first, 6)
    found = axes(first)
    np.testing.assert_allclose(found.T @ found / len(found), np.eye(6), atol=1e-3)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    # The greatest variance comes first.
    back = first - first.mean(axis=0)
    shares = [np.linalg.norm(back.T @ column) for column in found.T]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("number", [1, 7])
def test_a_graph_maps_features_as_numpy_does(number: int) -> None:
    features, _ = two_networks(50, 40)
    axes = principal_axes(features, 6)
    some = features[:number].astype(np.float32)
    in_graph = tf.function(axes.map_graph)(tf.constant(some))
    np.testing.assert_allclose(in_graph, axes(some), atol=1e-6)


def test_fewer_axes_than_asked_where_there_are_no_more() -> None:
    rng = np.random.default_rng(1)
    flat = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 20))
    assert principal_axes(flat, 16).weights.shape == (20, 3)


@pytest.mark.parametrize(("number", "width"), [(600, 40), (100, 300)])
def test_one_network_is_brought_into_the_axes_of_another(number: int, width: int) -> None:
    first, second = two_networks(number, width)
    axes = principal_axes(first, 6)
    target = axes(first)
    aligned = fit_axes(second[: number // 2], target[: number // 2], list(range(number // 2)))
    found = aligned(second[number // 2 :])
    error = np.mean((found - target[number // 2 :]) ** 2)
    assert error < 0.05
    assert aligned.explained == pytest.approx(1 - error, abs=0.05)


def test_networks_with_nothing_in_common_are_told() -> None:
    first, _ = two_networks(300, 40)
    other = np.random.default_rng(2).normal(size=(300, 40))
    axes = fit_axes(other, principal_axes(first, 6)(first), list(range(300)))
    assert axes.explained < 0.1


def test_patients_are_held_out_and_not_their_slices() -> None:
    """Slices of a patient are alike, and what two networks make of him has nothing in common."""
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(40), 10)
    features = rng.normal(size=(40, 60))[patients] + 0.05 * rng.normal(size=(400, 60))
    target = rng.normal(size=(40, 4))[patients]
    axes = fit_axes(features, target, [str(number) for number in patients])
    assert axes.explained < 0.1
    # Held out by slices, the same map seems to explain it all.
    assert fit_axes(features, target, list(range(400))).explained > 0.9
