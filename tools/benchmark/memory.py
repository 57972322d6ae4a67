"""Measures the memory of conversions of more and more slices, which should not grow.

  python -m tools.benchmark.memory --num_slices=10000,40000

Makes a few small phantoms and copies them under new ids, in a temporary folder.

Exit codes: 0 done; 1 a command failed or the data cannot be used; 2 wrong usage.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from absl import flags

from ich_tf.runtime import command

command.add_headings({"num_slices": "Conversions"})
_NUM_SLICES = flags.DEFINE_list(
    "num_slices", ["10000", "40000"], "Numbers of slices to convert, one conversion each."
)
_MATRIX = flags.DEFINE_integer("matrix", 64, "Rows and columns of the slices, px.", lower_bound=16)
_LABELS = flags.DEFINE_bool("labels", False, "Convert with a label CSV, which is kept in memory.")
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "Worker processes; 0: one per core.")


def main() -> None:
    """Converts each number of slices and prints the peak memory of the processes."""
    from tools.benchmark.processes import run_measured
    from tools.benchmark.slices import write_labels, write_slices

    counts = sorted(map(int, _NUM_SLICES.value))
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            part = Path(folder) / f"first-{count}"
            write_slices(part, count, _MATRIX.value, _NUM_WORKERS.value)
            labels_csv = ""
            if _LABELS.value:
                labels_csv = f"{folder}/first-{count}.csv"
                write_labels(Path(labels_csv), count)
            usage = run_measured(
                "tools.make_tfrecords",
                f"--dicom_dir={part}",
                f"--labels_csv={labels_csv}",
                f"--out_dir={Path(folder) / f'out-{count}'}",
                f"--image_size={_MATRIX.value}",
                "--shard_mb=4",
                f"--num_workers={_NUM_WORKERS.value}",
            )
            print(
                f"{count} slices: {usage.main_mib:.0f} MiB the command, "
                f"{usage.worker_mib:.0f} MiB its largest worker, {usage.seconds:.0f} s"
            )


if __name__ == "__main__":
    command.run(main, __doc__)
