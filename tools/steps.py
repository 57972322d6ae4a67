"""Steps of tools that run other commands: a command as a user types it, and records for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ich_tf.errors import InputError


def run_step(module: str, *arguments: str) -> None:
    """Prints and runs `python -m <module> <arguments>`.

    Args:
      module: Module of the command, such as `ich_tf.train`.
      *arguments: Flags of the command.

    Raises:
      InputError: If the command fails.
    """
    print(f"\n$ python -m {module} {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", module, *arguments], check=False)
    if done.returncode:
        raise InputError(f"python -m {module} ended with exit code {done.returncode}; see above.")


def make_records(folder: Path, flagfile: str, *conversion: str, **phantom_flags: object) -> Path:
    """Writes phantoms and their records unless they exist.

    Args:
      folder: Folder for `phantoms/` and `tfrecords/`.
      flagfile: File with flags of tools.make_phantoms.
      *conversion: More flags of tools.make_tfrecords.
      **phantom_flags: More flags of tools.make_phantoms, without their dashes.

    Returns:
      Folder of the records.

    Raises:
      InputError: If a command fails.
    """
    phantoms, records = folder / "phantoms", folder / "tfrecords"
    if not (records / "_SUCCESS").is_file():
        run_step(
            "tools.make_phantoms",
            f"--flagfile={flagfile}",
            f"--out_dir={phantoms}",
            "--overwrite",
            *(f"--{name}={value}" for name, value in phantom_flags.items()),
        )
    run_step(
        "tools.make_tfrecords",
        f"--dicom_dir={phantoms / 'stage_2_train'}",
        f"--labels_csv={phantoms / 'stage_2_train.csv'}",
        f"--out_dir={records}",
        "--image_size=128",
        "--shard_mb=8",
        *conversion,
    )
    return records
