"""Weighs conversions of more and more slices: memory has to stay where it is.

  python -m tools.benchmark.memory --num_slices=10000,40000

Makes a few small phantoms first, and copies them under new ids, in a temporary folder.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from absl import flags

from ich_tf import command

_NUM_SLICES = flags.DEFINE_list("num_slices", ["10000", "40000"], "Slices to convert, ascending.")
_MATRIX = flags.DEFINE_integer("matrix", 64, "Rows and columns of the phantoms.", lower_bound=16)
_LABELS = flags.DEFINE_bool("labels", False, "Convert with a label CSV, which is held in memory.")
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "Processes; 0 means one per core.")


def main() -> None:
    """Makes phantoms, converts the first so many of them, prints what each process held."""
    from tools.benchmark.processes import run_weighed

    counts = sorted(map(int, _NUM_SLICES.value))
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            part = Path(folder) / f"first-{count}"
            _write_slices(part, count)
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


def _write_slices(folder: Path, count: int) -> None:
    """Writes so many slices: phantoms, and copies of them as other patients'."""
    from ich_tf.dicom import read_headers
    from ich_tf.phantom import PhantomConfig, write_dataset
    from ich_tf.sources import list_sources

    with tempfile.TemporaryDirectory() as phantoms:
        config = PhantomConfig(num_patients=20, seed=0, matrix=_MATRIX.value)
        write_dataset(phantoms, config, _NUM_WORKERS.value)
        sources = list_sources(Path(phantoms) / "stage_2_train")
        files = [source.read() for source in sources]
    headers = [read_headers(io.BytesIO(data))[0] for data in files]
    folder.mkdir()
    for number in range(count):
        copy, which = divmod(number, len(files))
        data, header = files[which], headers[which]
        # Ids of the same length, put in their place.
        for identifier in (header.patient_id, header.study_id, header.series_id):
            data = data.replace(identifier.encode(), f"{identifier[:-4]}{copy:04x}".encode())
        name = f"ID_{number:09x}"
        (folder / f"{name}.dcm").write_bytes(data.replace(header.image_id.encode(), name.encode()))


if __name__ == "__main__":
    command.run(main, __doc__)
