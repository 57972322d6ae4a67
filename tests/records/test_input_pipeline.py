from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import InputError
from ich_tf.labels import ANY
from ich_tf.records import data_files
from ich_tf.records.example import parse
from ich_tf.records.images import decode_image
from ich_tf.records.input_pipeline import epoch_records, eval_batches, read_batches, train_batches
from ich_tf.records.manifest import Manifest, num_records
from ich_tf.records.tfrecord import read_records


@pytest.fixture(scope="module")
def manifest(data_dir: Path) -> Manifest:
    return Manifest.load(data_dir)


def train(manifest: Manifest, **changes) -> list[tuple[np.ndarray, np.ndarray]]:
    settings = {"batch_size": 16, "seed": 5, "epoch": 0, **changes}
    dataset = train_batches(manifest.train_shards(0), manifest.image_shape, **settings)
    return [(images.numpy(), labels.numpy()) for images, labels in dataset]


def test_evaluation_sees_every_record_once_padded_and_masked(manifest: Manifest) -> None:
    split = manifest.fold_shards(1)
    expected = {}
    for shard in split:
        for payload in read_records(shard.path):
            fields = parse(payload)
            image = decode_image(fields["encoded"], "png", manifest.image_shape).numpy()
            expected[fields["source_id"].numpy()] = (image, fields["labels"].numpy())
    count = num_records(split)
    for batch_size in (7, count, count + 5):
        found = {}
        masks = []
        for batch in eval_batches(split, manifest.image_shape, batch_size=batch_size):
            assert batch["image"].shape == (batch_size, *manifest.image_shape)
            mask = batch["mask"].numpy()
            masks.append(mask)
            assert (batch["image"].numpy()[~mask] == 0).all()
            for i in np.flatnonzero(mask):
                source_id = batch["source_id"].numpy()[i]
                assert source_id not in found
                found[source_id] = (batch["image"].numpy()[i], batch["labels"].numpy()[i])
        assert np.concatenate(masks).sum() == count
        assert set(found) == set(expected)
        for source_id, (image, labels) in found.items():
            np.testing.assert_array_equal(image, expected[source_id][0])
            np.testing.assert_array_equal(labels, expected[source_id][1])


def test_training_order_depends_on_seed_and_epoch_alone(manifest: Manifest) -> None:
    first, again = train(manifest), train(manifest)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    for other in (train(manifest, epoch=1), train(manifest, seed=6)):
        assert not all(np.array_equal(a[0], b[0]) for a, b in zip(first, other, strict=True))


def test_an_epoch_holds_each_record_at_most_once_and_full_batches(manifest: Manifest) -> None:
    batches = train(manifest)
    count = num_records(manifest.train_shards(0))
    assert len(batches) == count // 16
    assert {images.shape for images, _ in batches} == {(16, *manifest.image_shape)}
    flat = np.concatenate([images for images, _ in batches]).reshape(len(batches) * 16, -1)
    assert len(np.unique(flat, axis=0)) == len(flat)


def test_shuffling_mixes_patients_within_a_batch(manifest: Manifest) -> None:
    """Series are contiguous on disk; an unshuffled batch of 16 would come from one or two."""
    owner = {}
    for batch in eval_batches(manifest.train_shards(0), manifest.image_shape, batch_size=16):
        images, patients = batch["image"].numpy(), batch["patient_key"].numpy()
        owner.update((image.tobytes(), p) for image, p in zip(images, patients, strict=True))
    patients = [len({owner[image.tobytes()] for image in images}) for images, _ in train(manifest)]
    assert np.mean(patients) > 3


@pytest.mark.parametrize("first_step", [1, 3])
def test_an_epoch_can_begin_at_any_step(manifest: Manifest, first_step: int) -> None:
    for changes in ({}, {"negative_fraction": 0.5, "neighbours": 3}, {"neighbours": 5}):
        whole = train(manifest, **changes)
        rest = train(manifest, first_step=first_step, **changes)
        assert len(rest) == len(whole) - first_step
        for one, two in zip(whole[first_step:], rest, strict=True):
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])


def test_undersampling_keeps_all_bleeds_and_other_negatives_each_epoch(manifest: Manifest) -> None:
    split = manifest.train_shards(0)
    positives = sum(shard.label_counts[ANY] for shard in split)
    negatives = num_records(split) - positives
    count = epoch_records(split, 0.4)
    assert count == positives + round(0.4 * negatives)
    kept = []
    for epoch in (0, 1):
        batches = train(manifest, batch_size=1, epoch=epoch, negative_fraction=0.4)
        labels = np.concatenate([labels for _, labels in batches])
        assert len(labels) == count and labels[:, ANY].sum() == positives
        kept.append({x.tobytes() for x, y in batches if not y[0, ANY]})
        assert len(kept[-1]) == round(0.4 * negatives)
    assert kept[0] != kept[1]


def test_workers_read_their_own_shards_in_their_own_order(manifest: Manifest) -> None:
    one, two = train(manifest), train(manifest, worker=1)
    assert not all(np.array_equal(a[0], b[0]) for a, b in zip(one, two, strict=True))


def test_a_shard_cut_on_a_boundary_stops_the_reader(data_copy: Path) -> None:
    manifest = Manifest.load(data_copy)
    path = manifest.fold_shards(0)[0].path
    *_, last = data_files.index_path(path).read_text().splitlines()
    path.write_bytes(path.read_bytes()[: int(last.split()[0])])
    batches = eval_batches(manifest.fold_shards(0), manifest.image_shape, batch_size=8)
    with pytest.raises(InputError, match="verify_tfrecords"):
        list(read_batches(batches))


def test_a_flipped_bit_stops_the_reader_with_words(data_copy: Path) -> None:
    manifest = Manifest.load(data_copy)
    path = manifest.fold_shards(0)[0].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    batches = eval_batches(manifest.fold_shards(0), manifest.image_shape, batch_size=8)
    with pytest.raises(InputError, match="cannot be read"):
        list(read_batches(batches))


def test_a_cut_or_damaged_shard_stops_training_with_words(data_copy: Path) -> None:
    manifest = Manifest.load(data_copy)
    path = manifest.train_shards(0)[0].path
    whole = path.read_bytes()
    *_, last = data_files.index_path(path).read_text().splitlines()
    cut = whole[: int(last.split()[0])]
    flipped = bytes([*whole[: len(whole) // 2], whole[len(whole) // 2] ^ 1]) + whole[len(cut) :]
    for data in (cut, flipped):
        path.write_bytes(data)
        for neighbours in (1, 3):
            batches = train_batches(
                manifest.train_shards(0),
                manifest.image_shape,
                batch_size=8,
                seed=0,
                epoch=0,
                neighbours=neighbours,
            )
            with pytest.raises(InputError, match="cannot be read"):
                list(read_batches(batches))


def test_an_index_of_other_records_stops_training_with_words(data_copy: Path) -> None:
    manifest = Manifest.load(data_copy)
    path = data_files.index_path(manifest.train_shards(0)[0].path)
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:-1]))
    with pytest.raises(InputError, match="the manifest lists"):
        train(manifest)


def test_less_than_a_batch(manifest: Manifest) -> None:
    with pytest.raises(InputError, match="less than one batch"):
        train(manifest, batch_size=100_000)
