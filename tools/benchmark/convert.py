"""Measures conversion beside its floor: the same primitives in a bare loop, in one process.

  python -m tools.benchmark.convert --dicom_dir=D/stage_2_train

Floor and conversion take turns, so that a busy machine slows both; compare the ratios, which are
medians. Rates are of workers that have started; the last column is the whole command's.
"""

from __future__ import annotations

import functools
import hashlib
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

_DICOM_DIR = flags.DEFINE_string(
    "dicom_dir", "data/phantoms/stage_2_train", "Folder of DICOM files to measure with."
)
_NUM_SLICES = flags.DEFINE_integer("num_slices", 1000, "Files to use.", lower_bound=1)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 256, "Rows and columns of the records.")
_ENCODINGS = flags.DEFINE_list("encodings", ["raw", "png", "hu16", "jpeg"], "Which to measure.")
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "Processes; 0 means one per core.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Turns to take the median of.", lower_bound=1)
_WINDOWS = ("brain", "subdural", "soft")


def main() -> None:
    """Times each stage of a slice's way, then floor and conversion, and weighs the processes."""
    import cv2

    from ich_tf.conversion.config import ConversionConfig
    from ich_tf.dicom.sources import list_sources

    cv2.setNumThreads(1)  # as in a worker
    sources = list_sources(_DICOM_DIR.value)[: _NUM_SLICES.value]
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
    _stage("sha256", data, lambda one: hashlib.sha256(one).digest())
    slices = _stage("parse to HU", data, read_slice)
    resized = _stage("resize", slices, lambda one: resize_hu(one.hu, _IMAGE_SIZE.value))
    stored = _stage("quantize", resized, quantize_hu)
    images = _stage("window", stored, lambda one: apply_windows(one, windows))
    for encoding in _ENCODINGS.value:
        pixels = images if encoding != "hu16" else [one[..., None] for one in stored]
        encoded = _stage(
            f"encode {encoding}", pixels, functools.partial(encode_image, encoding=encoding)
        )
        print(f"{'':>14}  {sum(map(len, encoded)) / len(encoded) / 1024:8.1f} KiB")
    _stage("frame", encoded, frame)


def _stage(name: str, items: Sequence[Any], work: Callable[[Any], Any]) -> list[Any]:
    result = [work(one) for one in items]
    begun = time.perf_counter()
    # Nothing is kept: a stage of real work reuses its memory.
    for one in items:
        work(one)
    print(f"{name:>14}  {1e3 * (time.perf_counter() - begun) / len(result):8.3f} ms")
    return result


def _print_rates(sources: Sequence[Source], config: ConversionConfig) -> None:
    """A line of the table: floor, one worker, all workers, in turns."""
    from ich_tf.runtime.executors.local import LocalExecutor
    from tools.benchmark.processes import run_weighed

    floors, ones, alls = [], [], []
    with LocalExecutor(1) as one, LocalExecutor(config.num_workers) as every:
        list(every.map(_wait, [0.2] * 4 * every.num_workers))
        for _ in range(_REPEATS.value):
            floors.append(_floor_rate(sources, config))
            ones.append(_conversion_rate(config, one))
            alls.append(_conversion_rate(config, every))
    ratio = statistics.median(a / b for a, b in zip(ones, floors, strict=True))
    scaling = statistics.median(a / b for a, b in zip(alls, ones, strict=True))
    names = ("dicom_dir", "labels_csv", "image_size", "encoding", "num_workers")
    values = [f"--{name}={getattr(config, name)}" for name in names]
    out_dir = f"{config.out_dir}-{config.encoding}"
    weighed = run_weighed("tools.make_tfrecords", *values, "--allow_lossy", f"--out_dir={out_dir}")
    print(
        f"\n{config.encoding}: floor {statistics.median(floors):.0f} slices/s; one worker "
        f"{statistics.median(ones):.0f} ({ratio:.2f} of the floor); {every.num_workers} workers "
        f"{statistics.median(alls):.0f} ({scaling:.2f} x one); the whole command "
        f"{len(sources) / weighed.seconds:.0f}\n"
        f"  peak memory: {weighed.main_mib:.0f} MiB the command, "
        f"{weighed.worker_mib:.0f} MiB its largest worker"
    )


def _floor_rate(sources: Sequence[Source], config: ConversionConfig) -> float:
    """Slices a second of read, sha256, parse, resize, window, encode, frame, and nothing else."""
    from ich_tf.dicom.reader import read_slice
    from ich_tf.records.images import encode_image
    from ich_tf.records.tfrecord import frame
    from ich_tf.windows import apply_windows, preset_windows, store_hu

    windows = preset_windows(config.windows)
    begun = time.perf_counter()
    for source in sources:
        data = source.read()
        hashlib.sha256(data).hexdigest()
        image = store_hu(read_slice(data).hu, config.image_size)
        image = image[..., None] if config.encoding == "hu16" else apply_windows(image, windows)
        frame(encode_image(image, config.encoding))
    return len(sources) / (time.perf_counter() - begun)


def _conversion_rate(config: ConversionConfig, executor: Any) -> float:
    """Slices a second of a whole conversion, by workers that have started."""
    from ich_tf.conversion.convert import plan_conversion, write_shards
    from ich_tf.conversion.plan import save_plan
    from ich_tf.conversion.summary import finish
    from ich_tf.dicom.sources import list_sources

    with tempfile.TemporaryDirectory(dir=Path(config.out_dir).parent) as folder:
        out_dir = Path(folder)
        begun = time.perf_counter()
        sources = list_sources(config.dicom_dir)
        # As many shards as a large data set gives its workers, so that none is idle for long.
        finer = replace(config, shard_mb=_shard_mb(len(sources), config))
        plan, _ = plan_conversion(finer, sources, executor)
        write_shards(plan, plan.shards, sources[0].root, out_dir, executor)
        save_plan(out_dir, plan, sources[0].root)
        finish(out_dir, plan)
        return len(sources) / (time.perf_counter() - begun)


def _shard_mb(count: int, config: ConversionConfig) -> int:
    raw = count * config.image_size**2 * len(config.windows) / 2**20
    return max(1, round(raw / 16))


def _wait(seconds: float) -> None:
    time.sleep(seconds)


if __name__ == "__main__":
    command.run(main, __doc__)
