"""Weighs conversions of more and more slices: memory has to stay where it is.

  python -m tools.benchmark.memory --num_slices=10000,40000

Makes a few small phantoms first, and copies them under new ids, in a temporary folder.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from absl import flags

from ich_tf.runtime import command

_NUM_SLICES = flags.DEFINE_list("num_slices", ["10000", "40000"], "Slices to convert, ascending.")
_MATRIX = flags.DEFINE_integer("matrix", 64, "Rows and columns of the phantoms.", lower_bound=16)
_LABELS = flags.DEFINE_bool("labels", False, "Convert with a label CSV, which is held in memory.")
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "Processes; 0 means one per core.")


def main() -> None:
    """Makes phantoms, converts the first so many of them, prints what each process held."""
    from tools.benchmark.processes import run_weighed
    from tools.benchmark.slices import write_slices

    counts = sorted(map(int, _NUM_SLICES.value))
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            part = Path(folder) / f"first-{count}"
            write_slices(part, count, _MATRIX.value, _NUM_WORKERS.value)
            labels_csv = ""
            if _LABELS.value:
                labels_csv = f"{folder}/first-{count}.csv"
                _write_labels(Path(labels_csv), count)
            weighed = run_weighed(
                "tools.make_tfrecords",
                f"--dicom_dir={part}",
                f"--labels_csv={labels_csv}",
                f"--out_dir={Path(folder) / f'out-{count}'}",
                f"--image_size={_MATRIX.value}",
                "--shard_mb=4",
                f"--num_workers={_NUM_WORKERS.value}",
            )
            print(
                f"{count} slices: {weighed.main_mib:.0f} MiB the command, "
                f"{weighed.worker_mib:.0f} MiB its largest worker, {weighed.seconds:.0f} s"
            )


def _write_labels(path: Path, count: int) -> None:
    """Writes labels at random: what they say does not weigh."""
    import numpy as np

    from ich_tf.labels import ANY, CLASSES, write_long_csv

    values = np.random.default_rng(0).integers(0, 2, (count, len(CLASSES)))
    values[:, ANY] = 1
    write_long_csv(path, [f"ID_{number:09x}" for number in range(count)], values)


if __name__ == "__main__":
    command.run(main, __doc__)
