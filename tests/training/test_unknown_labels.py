"""Training on slices of which some are unlabelled, or labelled in part."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.labels import ANY
from ich_tf.losses import exam_loss, known_crossentropy
from ich_tf.records.bags import bag_batches, epoch_bags
from ich_tf.records.example import decode
from ich_tf.records.images import read_image
from ich_tf.records.input_pipeline import epoch_records, train_batches
from ich_tf.records.known_labels import known_labels
from ich_tf.records.manifest import Manifest
from ich_tf.records.tfrecord import read_records
from ich_tf.runtime.strategies import Worker
from ich_tf.training.augmentation import augment_batch
from ich_tf.training.augmentation_draws import draw_changes
from ich_tf.training.config import TrainConfig
from ich_tf.training.trainer import make_task
from tests.support.exam_records import a_third_labelled, all_labelled, exams_alone, with_exams
from tests.support.runs import smoke_config

ALL_NAN = np.full(6, np.nan)


def slices_of(manifest: Manifest) -> dict[bytes, np.ndarray]:
    """Labels by image of the training slices."""
    payloads = (p for shard in manifest.train_shards(0) for p in read_records(shard.path))
    return {read_image(r).tobytes(): known_labels(r) for r in map(decode, payloads)}


def epoch(manifest: Manifest, **changes) -> dict[bytes, np.ndarray]:
    settings = {"batch_size": 1, "seed": 5, "epoch": 0, **changes}
    batches = train_batches(manifest.train_shards(0), manifest.image_shape, **settings)
    return {images.numpy().tobytes(): labels.numpy()[0] for images, labels in batches}


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_an_epoch_reads_what_is_known(mixed_dir: Path, fraction: float) -> None:
    manifest = Manifest.load(mixed_dir)
    known = {k: v for k, v in slices_of(manifest).items() if not np.isnan(v).all()}
    found = epoch(manifest, negative_fraction=fraction, exams=True)
    for image, labels in found.items():
        np.testing.assert_array_equal(labels, known[image])
    negatives = sum(labels[ANY] == 0 for labels in known.values())
    assert len(found) == len(known) - negatives + round(fraction * negatives)
    assert len(found) == epoch_records(manifest.train_shards(0), fraction, exams=True)
    assert negatives and (fraction == 1) == (len(found) == len(known))


def test_a_slice_whose_any_is_unknown_is_no_negative(data_dir: Path, tmp_path: Path) -> None:
    def forget_any(labels: np.ndarray, key: str) -> tuple[np.ndarray, np.ndarray]:
        labels = labels.astype(float)
        labels[::2, ANY] = np.nan
        return labels, ALL_NAN

    manifest = Manifest.load(with_exams(data_dir, tmp_path / "data", forget_any))
    found = epoch(manifest, negative_fraction=0.0, exams=True)
    expected = [v for v in slices_of(manifest).values() if v[ANY] != 0]
    assert len(found) == len(expected) and any(np.isnan(v[ANY]) for v in found.values())


def test_where_all_is_known_nothing_changes(data_dir: Path, tmp_path: Path) -> None:
    both = [Manifest.load(data_dir), Manifest.load(with_exams(data_dir, tmp_path, all_labelled))]
    assert [manifest.has_exams for manifest in both] == [False, True]
    for settings in ({}, {"negative_fraction": 0.4}, {"neighbours": 3}):
        one, two = (epoch(m, **settings, exams=m.has_exams) for m in both)
        assert list(one) == list(two)
        np.testing.assert_array_equal(list(one.values()), list(two.values()))


def test_a_task_learns_from_what_is_known(mixed_dir: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(mixed_dir)
    task = make_task(smoke_config(mixed_dir, tmp_path / "run", batch_size=4, max_steps_per_epoch=0))
    labels = np.stack(list(slices_of(manifest).values()))
    known = labels[~np.isnan(labels).all(axis=1)]
    assert task.num_train == len(known)
    np.testing.assert_allclose(task.prior[1:], known[:, 1:].mean(axis=0), rtol=1e-6)
    task.deal(Worker(0, 1, 1))
    assert task.steps == len(known) // 4
    model = task.build()
    images, labels = next(iter(task.batches(0, 0)))
    assert np.isnan(labels.numpy()[:, 0]).all() and not np.isnan(labels.numpy()[:, 1:]).any()
    logits = model(images, training=True)
    np.testing.assert_array_equal(task.loss(labels, logits), known_crossentropy(labels, logits))


def test_probabilities_of_slices_need_a_labelled_slice(data_dir: Path, tmp_path: Path) -> None:
    data = with_exams(data_dir, tmp_path / "data", exams_alone)
    for changes in ({}, {"sequence": "bigru", "slab": 5}):
        with pytest.raises(InputError, match="no slice .* is labelled; .*--sequence=attention"):
            make_task(smoke_config(data, tmp_path / "run", **changes))


def test_the_best_epoch_of_single_slices_needs_a_labelled_slice(
    data_dir: Path, tmp_path: Path
) -> None:
    keys = {
        record.series_key
        for shard in Manifest.load(data_dir).fold_shards(0)
        for record in map(decode, read_records(shard.path))
    }
    data = with_exams(
        data_dir,
        tmp_path / "data",
        lambda labels, key: (exams_alone if key in keys else all_labelled)(labels, key),
    )
    with pytest.raises(InputError, match="no slice of validation fold 0 is labelled"):
        make_task(smoke_config(data, tmp_path / "run"))
    make_task(smoke_config(data, tmp_path / "run", sequence="bigru", slab=5))


def test_a_series_is_learned_from_bags_with_the_exams_labels(
    mixed_dir: Path, tmp_path: Path
) -> None:
    manifest = Manifest.load(mixed_dir)
    shards = manifest.train_shards(0)
    changes = {"sequence": "bigru", "slab": 5, "units": 8, "batch_size": 2, "reverse": True}
    task = make_task(smoke_config(mixed_dir, tmp_path, series_weight=0.3, **changes))
    task.deal(Worker(0, 1, 1))
    assert task.steps == min(5, epoch_bags(shards) // 2)
    (_, places), labels = next(iter(task.batches(0, 0)))
    settings = {"batch_size": 2, "slices": 5, "seed": 0, "epoch": 0, "reverse": True}
    (_, same_places), same = next(iter(bag_batches(shards, manifest.image_shape, **settings)))
    np.testing.assert_array_equal(labels, same)
    np.testing.assert_array_equal(places, same_places)
    logits = np.random.default_rng(0).normal(size=labels.shape).astype(np.float32)
    loss = exam_loss(labels, logits, exam_weight=0.3)
    np.testing.assert_array_equal(task.loss(labels, logits), loss)
    assert np.isfinite(loss).all() and (loss.numpy() > 0).all()


def test_a_blend_with_an_unknown_label_is_unknown() -> None:
    config = TrainConfig(mixup=0.4, cutout=0.3)
    labels = np.zeros((6, 6), np.float32)
    labels[2], labels[4, 1] = np.nan, np.nan
    images, seed = tf.zeros([6, 8, 8, 1], tf.uint8), tf.constant([1, 2])
    assert (draw_changes(config, 6, seed).kept.numpy() < 1).all()
    _, mixed = augment_batch(images, tf.constant(labels), seed, config)
    unknown = np.isnan(labels)
    np.testing.assert_array_equal(np.isnan(mixed), unknown | np.roll(unknown, 1, axis=0))


def test_an_unknown_class_is_not_absent_from_a_mask(masked_dir: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(with_exams(masked_dir, tmp_path / "data", a_third_labelled))
    annotated = {
        read_image(record).tobytes(): record.annotated
        for shard in manifest.train_shards(0)
        for record in map(decode, read_records(shard.path))
    }
    batches = train_batches(
        manifest.train_shards(0), manifest.image_shape, batch_size=1, seed=5, epoch=0, masks=True,
        exams=True,
    )  # fmt: skip
    by_labels = 0
    for images, labels in batches:
        told = int(labels.annotated[0])
        if annotated[images.numpy().tobytes()]:
            assert told == annotated[images.numpy().tobytes()]
        else:
            by_labels += 1
            absent = np.flatnonzero(labels.labels[0] == 0)
            assert told == sum(1 << int(k) for k in absent) and not told & 1
    assert by_labels
