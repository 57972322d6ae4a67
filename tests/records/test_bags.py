"""Bags of slices: of one series each, with the exam's labels, unknown ones NaN."""

import dataclasses
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import DataError
from ich_tf.records.bags import (
    bag_batches,
    epoch_bags,
    exam_of_slices_graph,
    longest_bag,
    spread_places,
)
from ich_tf.records.exam_labels import exam_of_slices
from ich_tf.records.example import decode
from ich_tf.records.images import read_image
from ich_tf.records.known_labels import known_labels
from ich_tf.records.manifest import Manifest
from ich_tf.records.shard_labels import known_shares, read_shard_labels
from ich_tf.records.tfrecord import read_records
from tests.support.exam_records import exams_alone, with_exams

K = 4


@pytest.fixture(scope="module")
def mixed(mixed_dir: Path) -> Manifest:
    return Manifest.load(mixed_dir)


@pytest.fixture(scope="module")
def series(mixed: Manifest) -> dict[bytes, list]:
    """Image of a slice -> the records of its series."""
    by_key = defaultdict(list)
    for shard in mixed.train_shards(0):
        for payload in read_records(shard.path):
            record = decode(payload)
            by_key[record.series_key].append(record)
    return {read_image(one).tobytes(): group for group in by_key.values() for one in group}


def read(manifest: Manifest, **changes) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    settings = {"batch_size": 2, "slices": K, "seed": 5, "epoch": 0, **changes}
    dataset = bag_batches(manifest.train_shards(0), manifest.image_shape, **settings)
    return [(x.numpy(), p.numpy(), y.numpy()) for (x, p), y in dataset]


def bags(manifest: Manifest, **changes) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    batches = read(manifest, batch_size=1, **changes)
    return [(x[0], p[0], y[0]) for x, p, y in batches]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("slices", [K, 0])
def test_a_bag_is_of_one_exam(mixed: Manifest, series: dict, slices: int, reverse: bool) -> None:
    found, directions, lengths = bags(mixed, slices=slices, reverse=reverse), set(), set()
    assert len(found) == epoch_bags(mixed.train_shards(0)) == len({id(x) for x in series.values()})
    for images, places, labels in found:
        number = int(places[:, 1].sum())
        lengths.add(number)
        assert places[:number, 1].all() and not places[number:].any()
        records = series[images[0].tobytes()]
        by_image = {read_image(one).tobytes(): one for one in records}
        chosen = [by_image[image.tobytes()] for image in images[:number]]
        steps = np.diff([record.slice_index for record in chosen])
        directions |= set(np.sign(steps).tolist())
        assert len(chosen) == (len(records) if slices == 0 else K)
        z_mm = np.array([record.z_mm for record in chosen])
        np.testing.assert_allclose(places[:number, 0], np.abs(z_mm - z_mm[0]), atol=1e-3)
        np.testing.assert_array_equal(labels[0], records[0].exam_labels)
        np.testing.assert_array_equal(labels[1 : 1 + number], [known_labels(x) for x in chosen])
        assert np.isnan(labels[1 + number :]).all() and len(labels) == 1 + len(images)
        assert all(image.tobytes() in by_image for image in images[number:])
    assert directions == ({1, -1} if reverse else {1})
    assert slices or (len(lengths) > 1 and max(lengths) == longest_bag(mixed.train_shards(0)))


def test_later_epochs_bring_the_rest(mixed: Manifest, series: dict) -> None:
    stride = -(-longest_bag(mixed.train_shards(0)) // K)
    seen = [
        {image.tobytes() for images, places, _ in bags(mixed, epoch=epoch) for image in images}
        for epoch in range(stride)
    ]
    assert len(seen[0]) == K * len({id(x) for x in series.values()})
    assert set().union(*seen) == set(series)


@pytest.mark.parametrize(("n", "k"), [(7, 3), (41, 40), (3, 8), (1, 1), (40, 10)])
def test_every_slice_comes_in_as_many_epochs_as_a_part_is_long(n: int, k: int) -> None:
    epochs = [spread_places(n, k, epoch) for epoch in range(-(-n // min(n, k)))]
    assert {len(places) for places in epochs} == {min(n, k)}
    assert all((np.diff(places) > 0).all() for places in epochs)
    assert set(np.concatenate(epochs).tolist()) == set(range(n))


def test_from_any_step_on_the_same_bags(mixed: Manifest) -> None:
    every, late = read(mixed, reverse=True), read(mixed, reverse=True, first_step=2)
    assert len(late) == len(every) - 2
    for one, two in zip(every[2:], late, strict=True):
        for left, right in zip(one, two, strict=True):
            np.testing.assert_array_equal(left, right)
    orders = [[x[0].tobytes() for x, _, _ in bags(mixed, slices=0, seed=seed)] for seed in (5, 6)]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])


def test_of_labelled_slices_alone_the_exams_labels_follow(data_dir: Path) -> None:
    manifest = Manifest.load(data_dir)
    assert not manifest.has_exams
    for _, places, labels in bags(manifest, slices=0):
        slices = labels[1 : 1 + int(places[:, 1].sum())]
        assert not np.isnan(slices).any()
        np.testing.assert_array_equal(labels[0], exam_of_slices(slices))


def test_the_graph_says_what_numpy_says_of_an_exam() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([0.0, 1.0, np.nan], (50, 3, 6), p=[0.6, 0.2, 0.2]).astype(np.float32)
    expected = [exam_of_slices(exam) for exam in labels]
    np.testing.assert_array_equal(exam_of_slices_graph(tf.constant(labels)), expected)
    assert {0.0, 1.0} < set(np.ravel(expected).tolist()) and np.isnan(expected).any()


def test_shares_are_of_known_labels(mixed: Manifest, series: dict) -> None:
    shares = known_shares(mixed.train_shards(0))
    exams = {id(group): group for group in series.values()}.values()
    slices = np.stack([known_labels(record) for group in exams for record in group])
    np.testing.assert_allclose(shares.slices[1:], np.nanmean(slices[:, 1:], axis=0), rtol=1e-6)
    assert np.isnan(shares.slices[0]) and shares.num_slices == (slices[:, 1] >= 0).sum()
    of_exams = np.stack([group[0].exam_labels for group in exams])
    np.testing.assert_allclose(shares.exams, np.nanmean(of_exams, axis=0))
    assert shares.num_exams == len(of_exams)
    assert shares.of_slices[0] == shares.exams[0] and shares.of_slices[1] == shares.slices[1]


def test_an_exam_of_which_nothing_is_known_makes_no_bag(data_dir: Path, tmp_path: Path) -> None:
    def forget(labels: np.ndarray, key: str) -> tuple[np.ndarray, np.ndarray]:
        slices, exam = exams_alone(labels, key)
        return slices, exam if sum(key.encode()) % 2 else np.full(6, np.nan)

    manifest = Manifest.load(with_exams(data_dir, tmp_path / "data", forget))
    shards = manifest.train_shards(0)
    known = sum(int((~np.isnan(read_shard_labels(s).exams)).any(axis=1).sum()) for s in shards)
    found = bags(manifest, slices=0)
    assert (
        len(found)
        == known
        == epoch_bags(shards)
        < sum(len(read_shard_labels(s).first) for s in shards)
    )
    assert all((~np.isnan(labels[0])).any() for *_, labels in found)


def test_a_damaged_shard_is_no_bag(data_copy: Path) -> None:
    manifest = Manifest.load(data_copy)
    shard = manifest.train_shards(0)[0]
    data = bytearray(shard.path.read_bytes())
    data[len(data) // 2] ^= 1
    shard.path.write_bytes(data)
    with pytest.raises(DataError, match="damaged.*--full --repair"):
        epoch_bags(manifest.train_shards(0))


def test_labels_are_read_before_devices_are_chosen(mixed: Manifest) -> None:
    code = (
        "import sys; from ich_tf.records.manifest import Manifest; "
        "from ich_tf.records.shard_labels import known_shares; "
        f"known_shares(Manifest.load({str(mixed.data_dir)!r}).shards); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_empty_shard_has_no_exam(mixed: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "empty.tfrecord"
    path.write_bytes(b"")
    shard = dataclasses.replace(mixed.shards[0], path=path, num_records=0)
    labels = read_shard_labels(shard)
    assert labels.labels.shape == labels.exams.shape == (0, 6) and epoch_bags([shard]) == 0
