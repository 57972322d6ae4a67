"""Slabs of consecutive slices: of one series, in order, each slice about once an epoch."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.records.input_pipeline import eval_batches
from ich_tf.records.manifest import Manifest, num_records
from ich_tf.records.neighbours import slab_of
from ich_tf.records.slabs import epoch_slabs, slab_batches

K = 5


@pytest.mark.parametrize(
    ("keys", "places", "present"),
    [
        ("aaaaa", [0, 1, 2, 3, 4], 5),
        ("bbaaa", [2, 3, 4, 4, 4], 3),
        ("aaabb", [0, 1, 2, 2, 2], 3),
        ("bbabb", [2, 2, 2, 2, 2], 1),
        ("_baac", [2, 3, 3, 3, 3], 2),
    ],
)
def test_the_slices_of_the_middles_series(keys: str, places: list[int], present: int) -> None:
    found, there = slab_of(tf.constant(list(keys)))
    assert found.numpy().tolist() == places
    assert there.numpy().tolist() == [True] * present + [False] * (len(keys) - present)


@pytest.fixture(scope="module")
def manifest(data_dir: Path) -> Manifest:
    return Manifest.load(data_dir)


@pytest.fixture(scope="module")
def slices(manifest: Manifest) -> dict[bytes, tuple[bytes, int, float, np.ndarray]]:
    """Image -> series, place, z, labels of each record."""
    found = {}
    for batch in eval_batches(manifest.train_shards(0), manifest.image_shape, batch_size=16):
        rows = (batch[name].numpy() for name in ("image", "series_key", "slice_index", "z_mm"))
        kept = zip(batch["mask"].numpy(), *rows, batch["labels"].numpy(), strict=True)
        found.update({image.tobytes(): tuple(rest) for keep, image, *rest in kept if keep})
    return found


def read(manifest: Manifest, **changes) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    settings = {"batch_size": 4, "slices": K, "seed": 5, "epoch": 0, **changes}
    dataset = slab_batches(manifest.train_shards(0), manifest.image_shape, **settings)
    return [(x.numpy(), p.numpy(), y.numpy()) for (x, p), y in dataset]


@pytest.mark.parametrize("reverse", [False, True])
def test_slabs_are_consecutive_slices_of_a_series(
    manifest: Any, slices: Any, reverse: bool
) -> None:
    directions, lengths = Counter(), Counter()
    for images, places, labels in read(manifest, reverse=reverse):
        for image, place, label in zip(images, places, labels, strict=True):
            number = int(place[:, 1].sum())
            lengths[number] += 1
            assert place[:number, 1].all() and not place[number:].any()
            known = [slices[one.tobytes()] for one in image[:number]]
            assert len({series for series, *_ in known}) == 1
            order = np.array([index for _, index, *_ in known])
            if number > 1:
                step = order[1] - order[0]
                directions[int(step)] += 1
                np.testing.assert_array_equal(np.diff(order), step)
            z_mm = np.array([z for _, _, z, _ in known])
            np.testing.assert_allclose(place[:number, 0], np.abs(z_mm - z_mm[0]), atol=1e-3)
            np.testing.assert_array_equal(label[:number], [row for *_, row in known])
            assert not label[number:].any()
    assert set(directions) == ({1, -1} if reverse else {1})
    assert lengths[K] > sum(lengths.values()) / 2 and len(lengths) > 1


def test_an_epoch_reads_each_slice_about_once_and_another_one_cuts_elsewhere(
    manifest: Any, slices: Any
) -> None:
    shards = manifest.train_shards(0)
    seen = [Counter(), Counter()]
    for epoch, counter in enumerate(seen):
        batches = read(manifest, batch_size=1, epoch=epoch)
        assert abs(len(batches) - num_records(shards) / K) <= len(shards)
        assert len(batches) >= epoch_slabs(shards, K)
        for images, places, _ in batches:
            number = int(places[0, :, 1].sum())
            counter.update(one.tobytes() for one in images[0, :number])
        assert max(counter.values()) == 1
        assert len(counter) > 0.8 * len(slices)
    assert seen[0].keys() != seen[1].keys()


def test_from_any_step_on_the_same_slabs(manifest: Any) -> None:
    every = read(manifest, reverse=True)
    late = read(manifest, reverse=True, first_step=3)
    assert len(late) == len(every) - 3
    for one, two in zip(every[3:], late, strict=True):
        for left, right in zip(one, two, strict=True):
            np.testing.assert_array_equal(left, right)
    assert not np.array_equal(read(manifest, seed=6)[0][0], read(manifest)[0][0])
