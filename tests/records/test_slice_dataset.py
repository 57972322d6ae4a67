"""Slices by number: as TensorFlow reads them, without it, in other processes, or an error."""

import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import InputError, UsageError
from ich_tf.records import SliceDataset
from ich_tf.records.input_pipeline import eval_batches
from ich_tf.records.manifest import Manifest, num_records


@pytest.fixture(scope="module")
def dataset(data_dir: Path) -> SliceDataset:
    return SliceDataset(data_dir, "fold-0", "fold-1")


def test_the_slices_of_evaluation(data_dir: Path, dataset: SliceDataset) -> None:
    manifest = Manifest.load(data_dir)
    shards = [shard for shard in manifest.shards if shard.split in ("fold-0", "fold-1")]
    expected = {}
    for batch in eval_batches(shards, manifest.image_shape, batch_size=16):
        rows = (batch[name].numpy() for name in ("mask", "source_id", "image", "labels"))
        expected.update({key: (x, y) for keep, key, x, y in zip(*rows, strict=True) if keep})
    assert len(dataset) == num_records(shards) == len(expected)
    slices = list(dataset)
    for slice_ in slices:
        image, labels = expected.pop(slice_.source_id.encode())
        assert slice_.labels.dtype == np.float32 and slice_.image.flags.writeable
        np.testing.assert_array_equal(slice_.image, image)
        np.testing.assert_array_equal(slice_.labels, labels)
    assert not expected
    assert dataset[-1].source_id == slices[-1].source_id
    with pytest.raises(IndexError, match=f"of {len(dataset)}"):
        dataset[len(dataset)]
    for number in (1.5, slice(2), "a"):
        with pytest.raises(TypeError, match="as an integer"):
            dataset[number]  # type: ignore[index]


def test_by_id_and_with_the_whole_record(dataset: SliceDataset) -> None:
    last = len(dataset) - 1
    record = dataset.record(last)
    assert dataset.number_of(record.source_id) == last
    assert record.series_key == dataset.record(last - 1).series_key
    with pytest.raises(KeyError):
        dataset.number_of("none")


def test_all_splits_and_unknown_ones(data_dir: Path, dataset: SliceDataset) -> None:
    assert len(SliceDataset(data_dir)) == num_records(Manifest.load(data_dir).shards)
    with pytest.raises(UsageError, match=r"no split 'train'; it has fold-0, fold-1"):
        SliceDataset(data_dir, "train")


def test_another_process_reads_the_same_without_tensorflow(dataset: SliceDataset) -> None:
    code = (
        "import pickle, sys; dataset = pickle.load(sys.stdin.buffer); print(dataset[3].source_id)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(dataset),
        stdout=subprocess.PIPE,
        check=True,
    )
    assert done.stdout.decode().strip() == dataset[3].source_id


def test_damage_names_the_shard(data_copy: Path) -> None:
    dataset = SliceDataset(data_copy, "fold-0")
    path = Manifest.load(data_copy).fold_shards(0)[0].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"{path.name}.* damaged .*--repair"):
        list(dataset)
    path.with_name(path.name + ".idx").write_text("0 100\n")
    with pytest.raises(InputError, match=rf"{path.name}: its index lists 1 record"):
        SliceDataset(data_copy, "fold-0")


def test_batches_of_pytorch_or_of_a_loop(dataset: SliceDataset) -> None:
    if importlib.util.find_spec("torch") is None:
        batch = [dataset[i] for i in range(4)]
        images, labels = (
            np.stack(values) for values in ([x[0] for x in batch], [x[1] for x in batch])
        )
    else:
        from torch.utils.data import DataLoader

        images, labels, _ = next(iter(DataLoader(dataset, batch_size=4, num_workers=2)))
    assert images.shape == (4, *dataset.manifest.image_shape) and labels.shape == (4, 6)
