"""Measures conversion beside its floor: the same primitives in a bare loop in one process.

  python -m tools.benchmark.convert --dicom_dir=D/stage_2_train

The floor writes its records into a file and waits for the disk, as a conversion does. Floor and
conversion alternate, so that other load of the machine slows both; the ratios are medians. Rates
are of workers that have started, except the rate of the whole command.

Exit codes: 0 done; 1 a command failed or the data cannot be used; 2 wrong usage.
"""

from __future__ import annotations

import functools
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from ich_tf.runtime import command

if TYPE_CHECKING:
    from ich_tf.conversion.config import ConversionConfig
    from ich_tf.dicom.sources import Source

command.add_headings({"dicom_dir": "Conversion", "repeats": "Measurement"})
_DICOM_DIR = command.define_path(
    "dicom_dir", "data/phantoms/stage_2_train", "Folder of DICOM files to convert."
)
_NUM_SLICES = flags.DEFINE_integer(
    "num_slices", 1000, "Maximum number of files to convert.", lower_bound=1
)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 256, "Rows and columns of the records, px.")
_ENCODINGS = flags.DEFINE_list("encodings", ["raw", "png", "hu16", "jpeg"], "Encodings to measure.")
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "Worker processes; 0: one per core.")
_REPEATS = flags.DEFINE_integer(
    "repeats", 3, "Rounds, of which the median is printed.", lower_bound=1
)
_WINDOWS = ("brain", "subdural", "soft")


def main() -> None:
    """Measures each stage of a conversion, then floor, conversion and memory."""
    import cv2

    from ich_tf.conversion.config import ConversionConfig
    from ich_tf.dicom.listing import list_sources

    cv2.setNumThreads(1)  # as in a worker
    sources = list_sources(_DICOM_DIR.value).sources[: _NUM_SLICES.value]
    for source in sources:
        source.read()  # into the page cache
    print(f"{len(sources)} slices of {_DICOM_DIR.value}, {_IMAGE_SIZE.value} px")
    _print_stages(sources)
    with tempfile.TemporaryDirectory() as folder:
        linked = Path(folder) / "dicom"
        for number, source in enumerate(sources):
            path = linked / f"{number:06d}" / Path(source.name).name
            path.parent.mkdir(parents=True)
            path.symlink_to((source.root / source.name).resolve())
        config = ConversionConfig(
            dicom_dir=str(linked),
            labels_csv="",
            out_dir=str(Path(folder) / "out"),
            image_size=_IMAGE_SIZE.value,
            allow_lossy=True,
            num_workers=_NUM_WORKERS.value,
            max_bad_fraction=1.0,
        )
        for encoding in _ENCODINGS.value:
            _print_rates(sources, replace(config, encoding=encoding))


def _print_stages(sources: Sequence[Source]) -> None:
    from ich_tf.dicom.header_scan import scan_file
    from ich_tf.dicom.reader import read_slice
    from ich_tf.records.images import encode_image
    from ich_tf.records.tfrecord import frame
    from ich_tf.windows import apply_windows, preset_windows, quantize_hu, resize_hu

    windows = preset_windows(_WINDOWS)
    some = sources[:100]
    print("\nms a slice, one core")
    _stage("index", some, scan_file)
    data = _stage("read", some, lambda source: source.read())
    _stage("sha256", data, lambda file: hashlib.sha256(file).digest())
    slices = _stage("parse to HU", data, read_slice)
    resized = _stage("resize", slices, lambda slice_: resize_hu(slice_.hu, _IMAGE_SIZE.value))
    stored = _stage("quantize", resized, quantize_hu)
    images = _stage("window", stored, lambda hu: apply_windows(hu, windows))
    for encoding in _ENCODINGS.value:
        pixels = images if encoding != "hu16" else [hu[..., None] for hu in stored]
        encoded = _stage(
            f"encode {encoding}", pixels, functools.partial(encode_image, encoding=encoding)
        )
        print(f"{'':>14}  {sum(map(len, encoded)) / len(encoded) / 1024:8.1f} KiB")
    _stage("frame", encoded, frame)


def _stage(name: str, items: Sequence[Any], work: Callable[[Any], Any]) -> list[Any]:
    result = [work(item) for item in items]
    begun = time.perf_counter()
    # Results are discarded, as in a conversion, whose stages reuse their memory.
    for item in items:
        work(item)
    print(f"{name:>14}  {1e3 * (time.perf_counter() - begun) / len(result):8.3f} ms")
    return result


def _print_rates(sources: Sequence[Source], config: ConversionConfig) -> None:
    """Prints the rates of one encoding: floor, one worker, all workers, in turns."""
    from ich_tf.runtime.executors.local import LocalExecutor
    from tools.benchmark.processes import run_measured

    floor_rates, single_rates, parallel_rates = [], [], []
    with LocalExecutor(1) as single, LocalExecutor(config.num_workers) as parallel:
        list(parallel.map(_wait, [0.2] * 4 * parallel.num_workers))
        for _ in range(_REPEATS.value):
            floor_rates.append(_floor_rate(sources, config))
            single_rates.append(_conversion_rate(config, single))
            parallel_rates.append(_conversion_rate(config, parallel))
    ratio = statistics.median(a / b for a, b in zip(single_rates, floor_rates, strict=True))
    scaling = statistics.median(a / b for a, b in zip(parallel_rates, single_rates, strict=True))
    names = ("dicom_dir", "labels_csv", "image_size", "encoding", "num_workers")
    values = [f"--{name}={getattr(config, name)}" for name in names]
    out_dir = f"{config.out_dir}-{config.encoding}"
    usage = run_measured("tools.make_tfrecords", *values, "--allow_lossy", f"--out_dir={out_dir}")
    floor, single_rate, parallel_rate = map(
        statistics.median, (floor_rates, single_rates, parallel_rates)
    )
    print(
        f"\n{config.encoding}: floor {floor:.0f} slices/s; one worker {single_rate:.0f} "
        f"({ratio:.2f} of the floor); {parallel.num_workers} workers {parallel_rate:.0f} "
        f"({scaling:.2f} x one); the whole command {len(sources) / usage.seconds:.0f}\n"
        f"  peak memory: {usage.main_mib:.0f} MiB the command, "
        f"{usage.worker_mib:.0f} MiB its largest worker"
    )


def _floor_rate(sources: Sequence[Source], config: ConversionConfig) -> float:
    """Slices a second of the bare loop: read, hash, parse, resize, window, encode, frame, write."""
    from ich_tf.dicom.reader import read_slice
    from ich_tf.records.images import encode_image
    from ich_tf.records.tfrecord import frame
    from ich_tf.windows import apply_windows, preset_windows, store_hu

    windows = preset_windows(config.windows)
    begun = time.perf_counter()
    with tempfile.TemporaryFile(dir=Path(config.out_dir).parent) as file:
        for source in sources:
            data = source.read()
            hashlib.sha256(data).hexdigest()
            image = store_hu(read_slice(data).hu, config.image_size)
            image = image[..., None] if config.encoding == "hu16" else apply_windows(image, windows)
            file.write(frame(encode_image(image, config.encoding)))
        file.flush()
        os.fsync(file.fileno())
    return len(sources) / (time.perf_counter() - begun)


def _conversion_rate(config: ConversionConfig, executor: Any) -> float:
    """Slices a second of a whole conversion with workers that have started."""
    from ich_tf.conversion.convert import plan_conversion, write_shards
    from ich_tf.conversion.plan import save_plan
    from ich_tf.conversion.summary import finish
    from ich_tf.dicom.listing import list_sources

    with tempfile.TemporaryDirectory(dir=Path(config.out_dir).parent) as folder:
        out_dir = Path(folder)
        begun = time.perf_counter()
        listing = list_sources(config.dicom_dir)
        # Enough shards to keep all workers busy, as in a large data set.
        finer = replace(config, shard_mb=_shard_mb(len(listing), config))
        plan, _ = plan_conversion(finer, listing, executor)
        write_shards(plan, plan.shards, listing, out_dir, executor)
        save_plan(out_dir, plan, listing.root)
        finish(out_dir, plan)
        return len(listing) / (time.perf_counter() - begun)


def _shard_mb(count: int, config: ConversionConfig) -> int:
    raw = count * config.image_size**2 * len(config.windows) / 2**20
    return max(1, round(raw / 8))


def _wait(seconds: float) -> None:
    time.sleep(seconds)


if __name__ == "__main__":
    command.run(main, __doc__)
