"""Measures the input pipeline of training with records of each encoding.

  python -m tools.benchmark.input --dicom_dir=D/stage_2_train

It is compared with a floor, a bare tf.data loop that only reads and decodes, and with a common
alternative, a keras.utils.Sequence that reads, windows and resizes DICOM files in every epoch.

Exit codes: 0 done; 1 a command failed or the data cannot be used; 2 wrong usage.
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

command.add_headings({"dicom_dir": "Data", "rounds": "Measurement"})
_DICOM_DIR = command.define_path(
    "dicom_dir", "data/phantoms/stage_2_train", "Folder of DICOM files to convert and read."
)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 256, "Rows and columns of the records, px.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Slices of a batch.", lower_bound=1)
_ENCODINGS = flags.DEFINE_list("encodings", ["png", "raw", "hu16", "jpeg"], "Encodings to measure.")
# Records read in a pass, from repeated shards: many, so that setup and the filling of the shuffle
# buffer take a small part of the time, as in an epoch.
_RECORDS = 20_000
_ROUNDS = flags.DEFINE_integer("rounds", 2, "Passes over the data; the fastest one is printed.")


def main() -> None:
    """Converts to each encoding and measures reading."""
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
            for neighbours in (1, 3):
                batches = train_batches(
                    shards,
                    manifest.image_shape,
                    batch_size=_BATCH_SIZE.value,
                    seed=0,
                    epoch=0,
                    encoding=manifest.encoding,
                    neighbours=neighbours,
                )
                before = time.process_time()
                pipeline = _rate(batches, _ROUNDS.value)
                slices = (1 + _ROUNDS.value) * len(batches) * _BATCH_SIZE.value
                print(
                    f"{encoding}, {neighbours} slice(s) an image: {pipeline:.0f} slices/s, "
                    f"{1000 * (time.process_time() - before) / slices:.2f} CPU-ms a slice, "
                    f"{pipeline / floor:.2f} of the floor's {floor:.0f}, "
                    f"{pipeline / sequence:.1f}x the Sequence",
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
    """The common alternative: a Sequence of batches made from DICOM files."""
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
    """Slices a second of the fastest pass, after one pass to warm up."""
    best = 0.0
    for number in range(rounds + 1):
        begun = time.perf_counter()
        count = sum(1 for _ in batches)
        seconds = time.perf_counter() - begun
        if not count:
            raise SystemExit("error: fewer slices than one batch. Give more DICOM files.")
        if number:
            best = max(best, count * _BATCH_SIZE.value / seconds)
    return best


if __name__ == "__main__":
    command.run(main, __doc__)
