"""What tools that run other commands share: a command as a user would type it, and data for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ich_tf.errors import InputError


def run_step(module: str, *arguments: str) -> None:
    """Runs `python -m <module> <arguments>`, after saying so.

    Raises:
      InputError: If it fails.
    """
    print(f"\n$ python -m {module} {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", module, *arguments], check=False)
    if done.returncode:
        raise InputError(f"python -m {module} ended with exit code {done.returncode}; see above.")


def make_records(
    folder: Path, flagfile: str, *conversion: str, num_patients: int | None = None
) -> Path:
    """Writes phantoms and their records, unless they are there.

    Args:
      folder: For `phantoms/` and `tfrecords/`.
      flagfile: Of the phantoms.
      conversion: Flags of tools.make_tfrecords.
      num_patients: Other than the flagfile says.

    Returns:
      The folder of records.
    """
    phantoms, records = folder / "phantoms", folder / "tfrecords"
    if not (records / "_SUCCESS").is_file():
        run_step(
            "tools.make_phantoms",
            f"--flagfile={flagfile}",
            f"--out_dir={phantoms}",
            "--overwrite",
            *([] if num_patients is None else [f"--num_patients={num_patients}"]),
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
