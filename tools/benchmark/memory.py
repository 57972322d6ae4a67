"""Weighs conversions of more and more slices: memory has to stay where it is.

  python -m tools.benchmark.memory --num_slices=10000,40000

Makes small phantoms first, in a temporary folder: two minutes and a gigabyte for 40,000 slices.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from absl import flags

from ich_tf import command

_NUM_SLICES = flags.DEFINE_list("num_slices", ["10000", "40000"], "Slices to convert, ascending.")
_MATRIX = flags.DEFINE_integer("matrix", 64, "Rows and columns of the phantoms.", lower_bound=16)
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "Processes; 0 means one per core.")


def main() -> None:
    """Makes phantoms, converts the first so many of them, prints what each process held."""
    from ich_tf.phantom import PhantomConfig, write_dataset
    from ich_tf.sources import list_sources
    from tools.benchmark.processes import run_weighed

    counts = sorted(map(int, _NUM_SLICES.value))
    with tempfile.TemporaryDirectory() as folder:
        phantoms = Path(folder) / "phantoms"
        # Thirty slices a patient, nearly; a tenth of them is the test stage.
        patients = counts[-1] // 22
        config = PhantomConfig(num_patients=patients, seed=0, matrix=_MATRIX.value)
        write_dataset(phantoms, config, _NUM_WORKERS.value)
        sources = list_sources(phantoms / "stage_2_train")
        for count in counts:
            part = Path(folder) / f"first-{count}"
            part.mkdir()
            for source in sources[:count]:
                (part / source.name).symlink_to(source.root / source.name)
            weighed = run_weighed(
                "tools.make_tfrecords",
                f"--dicom_dir={part}",
                "--labels_csv=",
                f"--out_dir={Path(folder) / f'out-{count}'}",
                f"--image_size={_MATRIX.value}",
                "--shard_mb=4",
                f"--num_workers={_NUM_WORKERS.value}",
            )
            print(
                f"{min(count, len(sources))} slices: {weighed.main_mib:.0f} MiB the command, "
                f"{weighed.worker_mib:.0f} MiB its largest worker, {weighed.seconds:.0f} s"
            )


if __name__ == "__main__":
    command.run(main, __doc__)
