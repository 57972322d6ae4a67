"""Measures reading: records of each encoding -> batches for training, beside two others.

The floor is a bare tf.data loop that only reads and decodes. The other is what many notebooks
do: a keras.utils.Sequence that reads, windows and resizes DICOM files anew in each epoch.

python -m tools.benchmark.input --dicom_dir=D/stage_2_train
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from ich_tf.runtime import command
from tools.benchmark.records import convert_folder

_DICOM_DIR = flags.DEFINE_string(
    "dicom_dir", "data/phantoms/stage_2_train", "Folder of DICOM files to measure with."
)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 256, "Rows and columns of the records.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Slices a batch.", lower_bound=1)
_ENCODINGS = flags.DEFINE_list("encodings", ["png", "raw", "hu16", "jpeg"], "What to measure.")
# So many are read in a pass, shards again and again: setting up and filling the shuffle's buffer
# weigh little, as in an epoch.
_RECORDS = 20_000
_ROUNDS = flags.DEFINE_integer("rounds", 2, "Passes over the data; the fastest counts.")


def main() -> None:
    """Converts to each encoding, and reads it."""
    from ich_tf.records.input_pipeline import train_batches
    from ich_tf.records.manifest import num_records

    sequence = _rate(_sequence(sorted(Path(_DICOM_DIR.value).glob("*.dcm"))), rounds=1)
    print(f"DICOM files in a keras.utils.Sequence: {sequence:.0f} slices/s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for encoding in _ENCODINGS.value:
            manifest = convert_folder(
                _DICOM_DIR.value, Path(folder) / encoding, _IMAGE_SIZE.value, encoding
            )
            copies = -(-_RECORDS // num_records(manifest.shards))
            shards = list(manifest.shards) * copies
            floor = _rate(_bare_loop(manifest, shards), _ROUNDS.value)
            batches = train_batches(
                shards,
                manifest.image_shape,
                batch_size=_BATCH_SIZE.value,
                seed=0,
                epoch=0,
                encoding=manifest.encoding,
            )
            pipeline = _rate(batches, _ROUNDS.value)
            print(
                f"{encoding}: {pipeline:.0f} slices/s, {pipeline / floor:.2f} of the floor's "
                f"{floor:.0f}, {pipeline / sequence:.1f}x the Sequence",
                flush=True,
            )


def _bare_loop(manifest: Any, shards: Sequence[Any]) -> Any:
    import tensorflow as tf

    from ich_tf.records.example import parse
    from ich_tf.records.images import decode_image

    def decode(serialized: Any) -> Any:
        fields = parse(serialized, ["encoded", "labels"])
        return decode_image(fields["encoded"], manifest.encoding, manifest.image_shape), fields[
            "labels"
        ]

    paths = [str(shard.path) for shard in shards]
    dataset = tf.data.TFRecordDataset(paths, num_parallel_reads=tf.data.AUTOTUNE)
    dataset = dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(_BATCH_SIZE.value, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def _sequence(paths: list[Path]) -> Any:
    """What such a Sequence does, its items one after the other."""
    import cv2
    import numpy as np
    import pydicom

    from ich_tf.runtime.keras2 import keras

    windows = ((40.0, 80.0), (80.0, 200.0), (40.0, 380.0))
    size, batch_size = _IMAGE_SIZE.value, _BATCH_SIZE.value

    class Slices(keras.utils.Sequence):  # type: ignore[misc]
        def __len__(self) -> int:
            return len(paths) // batch_size

        def __getitem__(self, index: int) -> Any:
            if index >= len(self):
                raise IndexError
            batch = paths[index * batch_size : (index + 1) * batch_size]
            return np.stack([self.read(path) for path in batch]), np.zeros((batch_size, 6))

        def read(self, path: Path) -> Any:
            file = pydicom.dcmread(path)
            hu = file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)
            channels = [np.clip((hu - (c - w / 2)) / w, 0, 1) * 255 for c, w in windows]
            image = np.stack(channels, axis=-1).astype(np.float32)
            return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)

    return Slices()


def _rate(batches: Iterable[Any], rounds: int) -> float:
    """Slices a second of the fastest pass; one pass before warms up."""
    best = 0.0
    for number in range(rounds + 1):
        begun = time.perf_counter()
        count = sum(1 for _ in batches)
        seconds = time.perf_counter() - begun
        if not count:
            raise SystemExit("error: less than one batch; give more DICOM files.")
        if number:
            best = max(best, count * _BATCH_SIZE.value / seconds)
    return best


if __name__ == "__main__":
    command.run(main, __doc__)
