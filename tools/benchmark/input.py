"""Measures reading: records of each encoding -> decoded batches.

python -m tools.benchmark.input --dicom_dir=D/stage_2_train
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from absl import flags

from ich_tf import command

_DICOM_DIR = flags.DEFINE_string(
    "dicom_dir", "data/phantoms/stage_2_train", "Folder of DICOM files to measure with."
)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 256, "Rows and columns of the records.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Slices a batch.", lower_bound=1)


def main() -> None:
    """Converts to each encoding, and reads twice: once to warm up."""
    from ich_tf.conversion.config import ConversionConfig
    from ich_tf.conversion.convert import convert
    from ich_tf.input_pipeline import eval_batches
    from ich_tf.records import ENCODINGS
    from ich_tf.shards import Manifest, num_records

    with tempfile.TemporaryDirectory() as folder:
        for encoding in ENCODINGS:
            config = ConversionConfig(
                dicom_dir=_DICOM_DIR.value,
                labels_csv="",
                out_dir=str(Path(folder) / encoding),
                image_size=_IMAGE_SIZE.value,
                encoding=encoding,
                allow_lossy=True,
                shard_mb=8,
            )
            convert(config)
            manifest = Manifest.load(config.out_dir)
            batches = eval_batches(
                manifest.shards,
                manifest.image_shape,
                batch_size=_BATCH_SIZE.value,
                encoding=encoding,
            )
            for _ in batches:
                pass
            begun = time.perf_counter()
            for _ in batches:
                pass
            rate = num_records(manifest.shards) / (time.perf_counter() - begun)
            print(f"read and decode {encoding}: {rate:.0f} slices/s")


if __name__ == "__main__":
    command.run(main, __doc__)
