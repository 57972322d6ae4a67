"""Measures prediction beside its floor, and its memory with more and more files.

  python -m tools.benchmark.predict --dicom_dir=D/stage_2_test

The floor is the time of decoding alone plus the time of the model alone on slices in memory.
`predict` decodes while the model computes, so it may take less.

Exit codes: 0 done; 1 a command failed or the data cannot be used; 2 wrong usage.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from ich_tf.runtime import command

command.add_headings({"dicom_dir": "Data and networks", "batch_size": "Measurement"})
_DICOM_DIR = command.define_path(
    "dicom_dir", "data/phantoms/stage_2_test", "Folder of DICOM files to predict."
)
_BACKBONES = flags.DEFINE_list(
    "backbones", ["resnet50", "tiny"], "Networks to measure, with random weights."
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", 224, "Height and width of the network's input, px."
)
_RECORD_SIZE = flags.DEFINE_integer(
    "record_size", 256, "Rows and columns of the network's records, px."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Slices of a batch.", lower_bound=1)
_NUM_FILES = flags.DEFINE_integer(
    "num_files", 600, "Maximum number of files to predict.", lower_bound=1
)
_MEMORY_SLICES = flags.DEFINE_list(
    "weighed",
    ["1000", "10000"],
    "Numbers of slices to measure memory with; empty: no such measurement.",
)


def main() -> None:
    """Measures each network's floor and prediction, then memory."""
    from ich_tf.dicom.listing import list_sources
    from tools.benchmark.random_run import make_run

    sizes = _IMAGE_SIZE.value, _RECORD_SIZE.value
    sources = list_sources(_DICOM_DIR.value).sources[: _NUM_FILES.value]
    with tempfile.TemporaryDirectory() as folder:
        for backbone in _BACKBONES.value:
            work_dir = make_run(Path(folder) / backbone, backbone, *sizes)
            _measure(backbone, work_dir, sources, Path(folder))
        _measure_memory(make_run(Path(folder) / "weighed", "tiny", *sizes), Path(folder))


def _measure(backbone: str, work_dir: Path, sources: Sequence[Any], folder: Path) -> None:
    import numpy as np

    from ich_tf.inference.prediction.model_image import ImageTask, read_images
    from ich_tf.inference.prediction.predict import predict_files
    from ich_tf.inference.prediction.reader import Reader
    from ich_tf.inference.prediction.store import PredictionStore
    from ich_tf.inference.series_predictor import load_predictor
    from ich_tf.runtime.executors.local import LocalExecutor
    from ich_tf.runtime.strategies import make_strategy

    predictor = load_predictor(work_dir, make_strategy("mirrored"))
    size, batch = _RECORD_SIZE.value, _BATCH_SIZE.value
    tasks = [ImageTask(i, source, size, predictor.windows) for i, source in enumerate(sources)]
    with LocalExecutor() as executor:
        # Starts the workers, and reads the files into the page cache.
        results = [each.slices for each in executor.map(read_images, tasks)]
        images = [slice_.image for slices in results for slice_ in slices]
        batches = [
            np.stack(images[start : start + batch])
            for start in range(0, len(images) - batch + 1, batch)
        ]
        predictor.logits(batches[0])
        begun = time.perf_counter()
        for _ in executor.map(read_images, tasks):
            pass
        decoding = time.perf_counter() - begun
        begun = time.perf_counter()
        for images_of_batch in batches:
            predictor.logits(images_of_batch)
        model = (time.perf_counter() - begun) * len(images) / (len(batches) * batch)
        store = PredictionStore.open(folder / f"{backbone}.sqlite", "")
        reader = Reader(sources, predictor, executor, store)
        inside = 0.0
        logits = predictor.logits

        def timed(images: Any) -> Any:
            nonlocal inside
            begun = time.perf_counter()
            outputs = logits(images)
            inside += time.perf_counter() - begun
            return outputs

        predictor.logits = timed  # type: ignore[method-assign]
        begun = time.perf_counter()
        predict_files(reader, batch)
        whole = time.perf_counter() - begun
        store.close(remove=True)
    print(
        f"{backbone}, {len(images)} slices: decoding alone {1000 * decoding / len(images):.2f} "
        f"ms/slice, the model alone {1000 * model / len(images):.2f}, predict "
        f"{1000 * whole / len(images):.2f}: {(decoding + model) / whole:.2f} of their sum's rate; "
        f"{100 * inside / whole:.0f} % of the time in the model",
        flush=True,
    )


def _measure_memory(work_dir: Path, folder: Path) -> None:
    from tools.benchmark.processes import run_measured
    from tools.benchmark.slices import write_slices

    for count in sorted(int(text) for text in _MEMORY_SLICES.value if text):
        part = folder / f"first-{count}"
        write_slices(part, count, 64)
        usage = run_measured(
            "ich_tf.predict",
            f"--dicom_dir={part}",
            f"--work_dir={work_dir}",
            f"--out_csv={folder / f'{count}.csv'}",
        )
        print(
            f"{count} slices: {usage.main_mib:.0f} MiB the command, {usage.worker_mib:.0f} MiB "
            f"its largest worker, {usage.seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    command.run(main, __doc__)
