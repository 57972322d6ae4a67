"""Damages DICOM files, archives, volumes, masks and TFRecords, and reads them as commands do.

  python -m tools.fuzz --seconds=300

Every input is read in a process with limits. It must end in a slice with pydicom's own pixels, in
a mask as nibabel and OpenCV read it, in a record's image, in a documented repair or codec, or in a
reason: never in an error that nobody foresaw, in more than 10 s of CPU time or in a gigabyte of
memory. A quarter of the damage is inside compressed streams, whose surroundings stay whole, so
that it reaches the decoders in C. The same seed
gives the same inputs; a failure is printed with its number, and `--first=NUMBER --count=1` reads
that input again.

Exit codes: 0 nothing was found; 1 an input was read wrongly; 2 wrong usage.
"""

from __future__ import annotations

from absl import flags

from ich_tf.runtime import command

command.add_headings({"seed": "Inputs"})
_SEED = flags.DEFINE_integer("seed", 0, "Seed of all damage.", lower_bound=0)
_FIRST = flags.DEFINE_integer("first", 0, "Number of the first input.", lower_bound=0)
_COUNT = flags.DEFINE_integer("count", 0, "Number of inputs; 0: until the time is over.")
_SECONDS = flags.DEFINE_float("seconds", 300.0, "Longest time to run, s.", lower_bound=0)
_KEEP = command.define_path(
    "keep_dir", "", "Folder for inputs that were read wrongly, and their smallest wrong parts."
)


def main() -> None:
    """Damages, reads, and prints the counts."""
    from pathlib import Path

    from ich_tf.errors import InputError
    from tools.fuzzing.campaign import run

    keep = Path(_KEEP.value) if _KEEP.value else None
    report = run(_SEED.value, _FIRST.value, _COUNT.value or None, _SECONDS.value, keep)
    command.show(report.text())
    if report.failures:
        raise InputError(f"{len(report.failures)} inputs were read wrongly; they are listed above.")


if __name__ == "__main__":
    command.run(main, __doc__)
