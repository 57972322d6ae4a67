"""Measures conversion and input on this machine, as rates and as ratios of one run.

  python -m tools.benchmark --dicom_dir=D/stage_2_train

Nothing here passes or fails: rates differ between machines, and ratios are what to compare.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from absl import flags

from ich_tf import command

_DICOM_DIR = flags.DEFINE_string(
    "dicom_dir", "data/phantoms/stage_2_train", "Folder of DICOM files to measure with."
)
_NUM_SLICES = flags.DEFINE_integer("num_slices", 300, "Files to use.", lower_bound=1)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 256, "Rows and columns of the records.")


def main() -> None:
    """Times each stage of a slice's way, then conversion and reading as a whole."""
    from ich_tf.dicom import read_slice
    from ich_tf.records import ENCODINGS, encode_image
    from ich_tf.sources import list_sources
    from ich_tf.windows import apply_windows, preset_windows, quantize_hu, resize_hu

    sources = list_sources(_DICOM_DIR.value)[: _NUM_SLICES.value]
    windows = preset_windows(("brain", "subdural", "soft"))
    print(f"{len(sources)} slices of {_DICOM_DIR.value}, one core, ms a slice")
    data = _stage("read", lambda: [source.read() for source in sources])
    slices = _stage("parse to HU", lambda: [read_slice(one) for one in data])
    size = _IMAGE_SIZE.value
    resized = _stage("resize", lambda: [resize_hu(one.hu, size) for one in slices])
    stored = _stage("quantize", lambda: [quantize_hu(one) for one in resized])
    images = _stage("window", lambda: [apply_windows(one, windows) for one in stored])
    for encoding in ENCODINGS:
        encoded = _stage(
            f"encode {encoding}",
            lambda encoding=encoding: [  # type: ignore[misc]
                encode_image(one, encoding)
                for one in (images if encoding != "hu16" else [s[..., None] for s in stored])
            ],
        )
        print(f"{'':>14}  {sum(map(len, encoded)) / len(encoded) / 1024:8.1f} KiB")
    _whole(len(sources))


def _whole(limit: int) -> None:
    """Conversion by one and by all cores, and reading, of both encodings."""
    from ich_tf.conversion.config import ConversionConfig
    from ich_tf.conversion.convert import convert
    from ich_tf.input_pipeline import eval_batches
    from ich_tf.records import ENCODINGS
    from ich_tf.shards import Manifest, num_records
    from ich_tf.sources import list_sources

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "dicom"
        source.mkdir()
        for one in list_sources(_DICOM_DIR.value)[:limit]:
            (source / Path(one.name).name).symlink_to((one.root / one.name).resolve())
        for encoding in ENCODINGS:
            for workers in (1, 0):
                out_dir = Path(folder) / f"{encoding}-{workers}"
                config = ConversionConfig(
                    dicom_dir=str(source),
                    labels_csv="",
                    out_dir=str(out_dir),
                    image_size=_IMAGE_SIZE.value,
                    encoding=encoding,
                    allow_lossy=True,
                    shard_mb=1,
                    num_workers=workers,
                )
                begun = time.perf_counter()
                records = convert(config).num_records
                rate = records / (time.perf_counter() - begun)
                cores = "one core" if workers == 1 else "all cores"
                print(f"convert {encoding}, {cores}: {rate:.0f} slices/s, start-up included")
            manifest = Manifest.load(out_dir)
            batches = eval_batches(
                manifest.shards, manifest.image_shape, batch_size=32, encoding=encoding
            )
            for _ in batches:  # warm
                pass
            begun = time.perf_counter()
            for _ in batches:
                pass
            rate = num_records(manifest.shards) / (time.perf_counter() - begun)
            print(f"read and decode {encoding}: {rate:.0f} slices/s")


def _stage(name: str, work: Callable[[], list]) -> list:
    begun = time.perf_counter()
    result = work()
    print(f"{name:>14}  {1e3 * (time.perf_counter() - begun) / len(result):8.3f} ms")
    return result


if __name__ == "__main__":
    command.run(main, __doc__)
