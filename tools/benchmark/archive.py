"""Measures a conversion of as many files as the RSNA 2019 challenge has, each of them tiny.

  python -m tools.benchmark.archive --num_files=750000 --folder=/scratch/archive

Files that a former call has left in --folder are used again. They take 4 KiB each.

Exit codes: 0 done; 1 a command failed or the data cannot be used; 2 wrong usage.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from absl import flags

from ich_tf.runtime import command

command.add_headings({"num_files": "Archive"})
_NUM_FILES = flags.DEFINE_integer("num_files", 750_000, "Number of files.", lower_bound=1000)
_FOLDER = command.define_path("folder", "data/archive", "Folder for the files and the shards.")
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "Worker processes; 0: one per core.")
_COUNTED_FILES = flags.DEFINE_integer(
    "counted_files",
    2000,
    "System calls are counted, by strace, on this many files and on twice as many; 0: not at all.",
    lower_bound=0,
)
_MATRIX = 32


@dataclass(frozen=True)
class Archive:
    """Files, their labels, and the folder that they are converted to.

    Attributes:
      dicom_dir: Folder of the DICOM files.
      labels_csv: Label CSV.
      out_dir: Folder of the shards.
    """

    dicom_dir: Path
    labels_csv: Path
    out_dir: Path

    def convert(self) -> tuple[str, ...]:
        """Module and flags of the conversion."""
        return (
            "ich_tf.make_tfrecords",
            f"--dicom_dir={self.dicom_dir}",
            f"--labels_csv={self.labels_csv}",
            f"--out_dir={self.out_dir}",
            f"--image_size={_MATRIX}",
            "--shard_mb=4",
            f"--num_workers={_NUM_WORKERS.value}",
        )

    def verify(self) -> tuple[str, ...]:
        """Module and flags of the verification."""
        return "ich_tf.verify_tfrecords", f"--data_dir={self.out_dir}", "--full"

    def damage(self) -> None:
        """Removes a tenth of the shards, as if the conversion had been killed before them."""
        shards = sorted(self.out_dir.glob("*.tfrecord"))
        for shard in shards[:: max(1, min(10, len(shards) // 2))]:
            shard.with_name(f"{shard.name}.json").unlink()
        (self.out_dir / "_SUCCESS").unlink()


def main() -> None:
    """Makes the files, then plans, converts, resumes, repeats and verifies."""
    from tools.benchmark.processes import run_measured

    folder = Path(_FOLDER.value)
    archive = _archive(folder, _NUM_FILES.value)
    shutil.rmtree(archive.out_dir, ignore_errors=True)
    print(f"{_NUM_FILES.value} files; wall and CPU seconds, peak MiB of the command and a worker")
    for name, prepare, run in _stages(archive):
        prepare()
        usage = run_measured(*run)
        print(
            f"{name:>8}{usage.seconds:9.1f}{usage.cpu_seconds:9.1f}"
            f"{usage.main_mib:9.0f}{usage.worker_mib:9.0f}",
            flush=True,
        )
    shutil.rmtree(archive.out_dir)
    if _COUNTED_FILES.value:
        _print_system_calls(_COUNTED_FILES.value)


def _stages(archive: Archive) -> list[tuple[str, Callable[[], None], tuple[str, ...]]]:
    """Name, preparation and command of each stage."""

    def nothing() -> None:
        pass

    return [
        ("plan", nothing, (*archive.convert(), "--dry_run")),
        ("convert", nothing, archive.convert()),
        ("resume", archive.damage, archive.convert()),
        ("repeat", nothing, archive.convert()),
        ("verify", nothing, archive.verify()),
    ]


def _archive(folder: Path, count: int) -> Archive:
    """The archive in a folder; its files are made if there are none."""
    from tools.benchmark.slices import write_labels, write_slices

    archive = Archive(folder / f"{count}", folder / f"{count}.csv", folder / f"{count}-shards")
    if not archive.labels_csv.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(archive.dicom_dir, ignore_errors=True)
        begun = time.perf_counter()
        write_slices(archive.dicom_dir, count, _MATRIX, _NUM_WORKERS.value)
        write_labels(archive.labels_csv, count)  # last: the mark that the files are whole
        print(f"{count} files written in {time.perf_counter() - begun:.0f} s", flush=True)
    return archive


def _print_system_calls(count: int) -> None:
    """Prints the system calls a file of each stage: the growth from one number to its double."""
    from tools.benchmark.processes import count_system_calls

    totals: list[dict[str, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in (count, 2 * count):
            totals.append({})
            for name, prepare, run in _stages(_archive(Path(folder), number)):
                prepare()
                calls = count_system_calls(*run)
                if calls is None:
                    print("system calls are not counted: strace is not installed")
                    return
                totals[-1][name] = calls
    few, many = totals
    growth = ", ".join(f"{name} {(many[name] - few[name]) / count:.1f}" for name in few)
    print(f"system calls a file: {growth}")


if __name__ == "__main__":
    command.run(main, __doc__)
