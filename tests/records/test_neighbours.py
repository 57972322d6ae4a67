from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.models.slice_model import build_model
from ich_tf.records.input_pipeline import eval_batches, train_batches
from ich_tf.records.manifest import Manifest
from ich_tf.records.neighbours import (
    as_channels,
    neighbour_places,
    neighbour_places_graph,
    places_in_chunk,
    same_series,
    with_neighbours,
)
from ich_tf.runtime.keras2 import keras
from tests.support.steps import APPLICATIONS


@pytest.mark.parametrize("count", [3, 5])
def test_windows_of_a_shard(count: int) -> None:
    records = tf.data.Dataset.from_tensor_slices([f"{i}" for i in range(6)])
    found = [w.numpy().tolist() for w in with_neighbours(records, count)]
    half = count // 2
    padded = [b""] * half + [f"{i}".encode() for i in range(6)] + [b""] * half
    assert found == [padded[i : i + count] for i in range(6)]


@pytest.mark.parametrize("length", [1, 2])
def test_windows_of_a_shard_shorter_than_they(length: int) -> None:
    records = tf.data.Dataset.from_tensor_slices([f"{i}" for i in range(length)])
    found = [w.numpy().tolist() for w in with_neighbours(records, 5)]
    assert [w[2] for w in found] == [f"{i}".encode() for i in range(length)]
    assert found[0][:2] == [b"", b""]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("aaa", [0, 1, 2]),
        ("baa", [1, 1, 2]),
        ("aab", [0, 1, 1]),
        ("bac", [1, 1, 1]),
        ("aaaaa", [0, 1, 2, 3, 4]),
        ("bbabb", [2, 2, 2, 2, 2]),
        ("baaab", [1, 1, 2, 3, 3]),
        ("bbaaa", [2, 2, 2, 3, 4]),
        ("aaab_", [0, 1, 2, 2, 2]),
    ],
)
def test_beyond_the_series_its_last_slice_stands_again(keys: str, expected: Any) -> None:
    assert same_series(tf.constant(list(keys))).numpy().tolist() == expected


@pytest.fixture(scope="module")
def manifest(data_dir):
    return Manifest.load(data_dir)


def single_slices(manifest, shards):
    """{(series, index): image} of the records read one by one."""
    found = {}
    for batch in eval_batches(shards, manifest.image_shape, batch_size=16):
        fields = (batch["mask"], batch["series_key"], batch["slice_index"], batch["image"])
        for keep, series, index, image in zip(*(f.numpy() for f in fields), strict=True):
            if keep:
                found[series, index] = image
    return found


@pytest.mark.parametrize("count", [3, 5])
def test_each_slice_stands_between_its_neighbours(manifest: Any, count: int) -> None:
    shards = manifest.shards
    single = single_slices(manifest, shards)
    half = count // 2
    seen = 0
    for batch in eval_batches(shards, manifest.image_shape, batch_size=16, neighbours=count):
        height, width, channels = manifest.image_shape
        assert batch["image"].shape == (16, height, width, count * channels)
        fields = (batch["mask"], batch["series_key"], batch["slice_index"], batch["image"])
        for keep, series, index, image in zip(*(f.numpy() for f in fields), strict=True):
            if not keep:
                continue
            seen += 1
            last = max(i for key, i in single if key == series)
            for place, offset in enumerate(range(-half, half + 1)):
                expected = single[series, min(max(index + offset, 0), last)]
                stored = image[..., place * channels : (place + 1) * channels]
                np.testing.assert_array_equal(stored, expected)
    assert seen == len(single)


def test_training_reads_the_same_order_with_neighbours(manifest: Any) -> None:
    shards = manifest.train_shards(0)
    settings = {"batch_size": 16, "seed": 5, "epoch": 1}
    alone = train_batches(shards, manifest.image_shape, **settings)
    beside = train_batches(shards, manifest.image_shape, neighbours=3, **settings)
    for (one, labels), (three, same_labels) in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(labels, same_labels)
        np.testing.assert_array_equal(three[:, 1], one)


@pytest.mark.parametrize("count", [3, 5])
def test_training_sees_the_windows_of_evaluation(manifest: Any, count: int) -> None:
    shards = manifest.train_shards(0)
    expected = set()
    for batch in eval_batches(shards, manifest.image_shape, batch_size=16, neighbours=count):
        images, mask = batch["image"].numpy(), batch["mask"].numpy()
        expected.update(image.tobytes() for image in images[mask])
    settings = {"batch_size": 1, "seed": 5, "epoch": 1, "neighbours": count}
    seen = [
        as_channels(images).numpy()[0].tobytes()
        for images, _ in train_batches(shards, manifest.image_shape, **settings)
    ]
    assert set(seen) == expected and len(seen) == len(expected)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_the_places_of_a_run_are_those_of_its_windows(count: int) -> None:
    keys = ["a"] * 3 + ["b"] + ["c"] * 7
    found = places_in_chunk(tf.constant(keys), count).numpy()
    half = count // 2
    padded = [""] * half + keys + [""] * half
    for place in range(len(keys)):
        window = tf.constant(padded[place : place + count])
        np.testing.assert_array_equal(found[place], same_series(window) + place - half)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet50", "efficientnet_b4"])
def test_pretrained_weights_begin_by_seeing_the_middle_alone(backbone: str, tmp_path: Path) -> None:
    application = APPLICATIONS[backbone]
    path = tmp_path / "notop.h5"
    application(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(path)
    one = build_model(backbone, (32, 32, 3), 32, weights=str(path))
    three = build_model(backbone, (32, 32, 3), 32, weights=str(path), neighbours=3)
    three.get_layer("logits").set_weights(one.get_layer("logits").get_weights())
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 9), np.uint8)
    np.testing.assert_allclose(three(images), one(images[..., 3:6]), atol=1e-4)


@pytest.mark.parametrize("hu", [False, True])
def test_records_of_other_channels(hu: bool) -> None:
    """Each slice goes through the same windows and the same 1x1 convolution."""
    windows = ("brain", "subdural") if hu else ()
    shape = (32, 32, 1) if hu else (32, 32, 2)
    model = build_model("tiny", shape, 32, hu_windows=windows, neighbours=3)
    one = build_model("tiny", shape, 32, hu_windows=windows)
    rng = np.random.default_rng(0)
    stored = (
        rng.integers(15000, 19000, (2, 32, 32, 3)) if hu else rng.integers(0, 256, (2, 32, 32, 6))
    )
    kernel = rng.normal(size=(2, 3)).astype(np.float32)
    model.get_layer("channels").set_weights([kernel])
    one.get_layer("channels").set_weights([kernel[None, None]])
    slices = [stored[..., i * shape[2] : (i + 1) * shape[2]] for i in range(3)]
    seen = keras.Model(one.input, one.get_layer("normalization").input)
    found = keras.Model(model.input, model.get_layer("normalization").input)(stored)
    expected = np.concatenate([seen(x) for x in slices], axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("num_slices", [1, 2, 4, 9])
def test_numpy_and_graphs_agree_on_neighbours(num_slices: int, count: int) -> None:
    expected = [
        [
            min(max(place + offset, 0), num_slices - 1)
            for offset in range(-(count // 2), count // 2 + 1)
        ]
        for place in range(num_slices)
    ]
    np.testing.assert_array_equal(neighbour_places(num_slices, count), expected)
    graph = tf.function(neighbour_places_graph)(tf.constant(num_slices), count)
    np.testing.assert_array_equal(graph, expected)
    # A window of a stream of records, in which other series stand before and after.
    half = count // 2
    keys = ["before"] * half + ["series"] * num_slices + ["after"] * half
    for place in range(num_slices):
        window = tf.constant(keys[place : place + count])
        np.testing.assert_array_equal(same_series(window) + place - half, expected[place])
