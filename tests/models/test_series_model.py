"""A series is read alike whatever the batch, the padding and its place in space."""

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.metrics import logit, sigmoid
from ich_tf.models.series_model import (
    build_series_model,
    pack,
    pack_arrays,
    pack_arrays_graph,
    packed_width,
    turned_series,
    turned_series_graph,
)
from ich_tf.records.series_features import SeriesFeatures
from ich_tf.runtime.keras2 import keras
from tests.support.marks import slow

BODIES = ["bigru", "transformer"]
DIM = 5


def made(number: int, seed: int = 0, z_mm: np.ndarray | None = None) -> SeriesFeatures:
    rng = np.random.default_rng(seed)
    return SeriesFeatures(
        series_key=f"S{seed}",
        patient_key=f"P{seed}",
        scanner="GE",
        network=0,
        source_id=tuple(f"ID_{seed}_{i}" for i in range(number)),
        slice_index=np.arange(number),
        z_mm=np.asarray(np.arange(number) * 5.0 if z_mm is None else z_mm, np.float32),
        spacing_mm=(0.5, 0.5),
        gantry_tilt_deg=0.0,
        labels=rng.integers(0, 2, (number, 6)).astype(np.float32),
        logits=rng.normal(size=(number, 6)).astype(np.float32),
        features=rng.normal(size=(number, DIM)).astype(np.float32),
    )


def learned(backbone: str, **options):
    """A model as if it had been trained: what it adds is not 0 any more."""
    keras.utils.set_random_seed(1)
    model = build_series_model(backbone, DIM, units=16, **options)
    rng = np.random.default_rng(2)
    head = model.get_layer("slices")
    head.kernel.assign(rng.normal(size=head.kernel.shape).astype(np.float32))
    return model


def outputs(model, series: SeriesFeatures, slots: int) -> np.ndarray:
    return np.asarray(model(pack(series, slots)[None], training=False))[0, : 1 + len(series)]


@pytest.mark.parametrize("backbone", BODIES)
@pytest.mark.parametrize("number", [slow(1), 3, slow(25)])
def test_it_begins_as_the_smoothed_slice_model(backbone: str, number: int) -> None:
    prior = np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.5])
    model = build_series_model(backbone, DIM, units=16, bias=prior)
    # A gap: slices are counted, not millimetres.
    one = made(number, z_mm=np.arange(number) * 5.0 + 30 * (np.arange(number) > number // 2))
    distance = np.abs(np.subtract.outer(np.arange(number), np.arange(number)))
    weight = np.where(distance <= 4, np.exp(-0.5 * (distance / 1.5) ** 2), 0)
    mean = weight @ sigmoid(one.logits) / weight.sum(axis=1, keepdims=True)
    found = outputs(model, one, number + 5)
    np.testing.assert_allclose(found[1:], logit(mean), atol=2e-5)
    assert model.count_params() > 1000


def test_certain_logits_stay_finite() -> None:
    model = learned("bigru")
    one = made(6)
    one.logits[:] = np.array([[80.0, -80.0] * 3])
    found = outputs(model, one, 8)
    assert np.isfinite(found).all() and (np.abs(found[1:]) > 5).all()


@pytest.mark.parametrize("backbone", [slow("bigru"), "transformer"])
def test_batch_and_padding_change_nothing(backbone: str) -> None:
    model = learned(backbone)
    series = [made(number, seed) for seed, number in enumerate((1, 2, 9, 30))]
    together = np.stack([pack(one, 40) for one in series])
    found = np.asarray(model(together, training=False))
    for row, one in zip(found, series, strict=True):
        for slots in (len(one), len(one) + 1, 64):
            alone = outputs(model, one, slots)
            np.testing.assert_allclose(row[: 1 + len(one)], alone, atol=2e-5)
    # What stands in empty slots is not read.
    dirty = together.copy()
    dirty[2, 9:, :-1] = 1e3
    np.testing.assert_allclose(
        np.asarray(model(dirty, training=False))[2, :10], found[2, :10], atol=2e-5
    )


@pytest.mark.parametrize("backbone", [slow("bigru"), "transformer"])
def test_one_slice_and_two_hundred(backbone: str) -> None:
    model = learned(backbone)
    for number in (1, 200):
        found = outputs(model, made(number), number)
        assert found.shape == (1 + number, 6) and np.isfinite(found).all()


@pytest.mark.parametrize("backbone", [slow("bigru"), "transformer"])
def test_where_a_series_lies_in_space_does_not_matter(backbone: str) -> None:
    model = learned(backbone)
    near, far = made(12), made(12, z_mm=np.arange(12) * 5.0 + 1234.5)
    np.testing.assert_allclose(outputs(model, near, 12), outputs(model, far, 12), atol=1e-3)


def test_a_gap_changes_the_steps_beside_it_alone() -> None:
    model = learned("bigru")
    context = keras.Model(model.input, model.get_layer("context").output)
    even = made(10)
    z_mm = even.z_mm.copy()
    z_mm[6:] += 15
    uneven = made(10, z_mm=z_mm)
    (first, *_), (second, *_) = (context(pack(one, 12)[None]) for one in (even, uneven))
    rows, columns = np.nonzero(np.abs(np.asarray(first - second))[0] > 1e-6)
    # The step after slice 5 and the step before slice 6.
    width = DIM + 6
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {
        (5, 3 * width + 1),
        (6, 2 * width),
    }


def test_slices_learn_from_their_neighbours() -> None:
    model = learned("bigru")
    one = made(9)
    changed = made(9)
    changed.features[4] += 3
    difference = np.abs(outputs(model, one, 9) - outputs(model, changed, 9)).max(axis=1)
    assert (difference[1:] > 1e-5).all() and difference[5] == difference[1:].max()


def test_too_many_slices_and_unknown_backbones_are_refused() -> None:
    with pytest.raises(ValueError, match="has 9 slices; there are 8 slots"):
        pack(made(9), 8)
    with pytest.raises(ValueError, match="backbone is 'magic'"):
        build_series_model("magic", DIM)
    assert pack(made(3), 4).shape == (4, packed_width(DIM))


@pytest.mark.parametrize("lengths", [(1,), (2,), (5,), (3, 1, 5)], ids=str)
def test_graphs_pack_and_turn_series_as_numpy_does(lengths: tuple[int, ...]) -> None:
    slots, rng = 5, np.random.default_rng(0)
    # Values in empty slots, which must not come through.
    features = rng.normal(size=(len(lengths), slots, DIM)).astype(np.float32)
    logits = rng.normal(size=(len(lengths), slots, 6)).astype(np.float32)
    z_mm = np.cumsum(rng.integers(1, 9, (len(lengths), slots)), axis=1).astype(np.float32)
    mask = (np.arange(slots) < np.array(lengths)[:, None]).astype(np.float32)
    packed = np.stack(
        [
            pack_arrays(features[i, :n], logits[i, :n], z_mm[i, :n], slots)
            for i, n in enumerate(lengths)
        ]
    )
    in_graph = tf.function(pack_arrays_graph)(features, logits, (z_mm - z_mm[:, :1]) * mask, mask)
    np.testing.assert_array_equal(in_graph, packed)
    turned = np.stack([turned_series(packed[i], n) for i, n in enumerate(lengths)])
    np.testing.assert_array_equal(tf.function(turned_series_graph)(packed), turned)
    np.testing.assert_array_equal(turned_series_graph(turned), packed)
