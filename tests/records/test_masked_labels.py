"""Masks come with the slices that they belong to, in training and in evaluation."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ich_tf.errors import DataError
from ich_tf.records.example import decode
from ich_tf.records.input_pipeline import eval_batches, train_batches
from ich_tf.records.manifest import Manifest
from ich_tf.records.tfrecord import read_records


def expected_masks(shards):
    """Bits and annotated classes of each record, by the bytes of its image's pixels."""
    masks = {}
    for shard in shards:
        for record in map(decode, read_records(shard.path)):
            bits = np.zeros((record.height, record.width), np.uint8)
            if record.mask:
                buffer = np.frombuffer(record.mask, np.uint8)
                bits = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
            absent = sum(1 << k for k, label in enumerate(record.labels) if not label)
            masks[record.source_id] = bits, record.annotated or absent
    return masks


def test_evaluation(masked_dir: Path) -> None:
    manifest = Manifest.load(masked_dir)
    shards = manifest.fold_shards(0)
    expected = expected_masks(shards)
    images = {}
    for batch in eval_batches(shards, manifest.image_shape, batch_size=16, masks=True):
        for i in np.flatnonzero(batch["mask"]):
            source_id = batch["source_id"].numpy()[i].decode()
            bits, annotated = expected[source_id]
            np.testing.assert_array_equal(batch["mask_bits"][i], bits)
            assert batch["annotated"][i] == annotated
            images[source_id] = batch["image"].numpy()[i]
    assert len(images) == len(expected)
    known = [annotated for _, annotated in expected.values()]
    # Some have masks, some only labels, and of these some classes are not annotated.
    assert any(bits.any() for bits, _ in expected.values()) and not all(x == 63 for x in known)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_training(masked_dir: Path, neighbours: int) -> None:
    manifest = Manifest.load(masked_dir)
    shards = manifest.train_shards(0)
    settings = {"batch_size": 16, "seed": 1, "epoch": 0, "neighbours": neighbours}
    plain = train_batches(shards, manifest.image_shape, **settings)
    masked = train_batches(shards, manifest.image_shape, masks=True, **settings)
    of_image = {}
    for batch in eval_batches(shards, manifest.image_shape, batch_size=16, masks=True):
        for image, bits, annotated in zip(
            batch["image"].numpy(), batch["mask_bits"].numpy(), batch["annotated"], strict=True
        ):
            of_image[image.tobytes()] = bits, int(annotated)
    for (images, labels), (same, given) in zip(plain, masked, strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, given.labels)
        middle = images.numpy() if neighbours == 1 else images.numpy()[:, neighbours // 2]
        for image, bits, annotated in zip(middle, given.mask, given.annotated, strict=True):
            expected = of_image[image.tobytes()]
            np.testing.assert_array_equal(bits, expected[0])
            assert annotated == expected[1]


def test_masks_without_labels_are_not_trained_on(masked_dir: Path) -> None:
    unlabelled = replace(Manifest.load(masked_dir), num_folds=0)
    with pytest.raises(DataError, match=r"with --labels_csv\. Its masks are no labels"):
        unlabelled.train_shards(0)
    with pytest.raises(DataError, match=r"Convert with --labels_csv\.$"):
        replace(unlabelled, num_marked=0).train_shards(0)
