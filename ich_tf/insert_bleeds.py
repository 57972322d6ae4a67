"""Puts synthetic bleeds into a hospital's own head CTs without bleeds.

  python -m ich_tf.insert_bleeds --dicom_dir=negatives --out_dir=data/inserted --per_study=5

--out_dir then holds dicom/ (a folder a case), masks/, labels.csv, cases.csv with millilitres,
Hounsfield units, contrast and noise of each case, inserted.json and rejected.csv. python -m
ich_tf.acceptance scores a model on them. The files are derived images, marked as such in their
headers: for tests only, not for clinical use.

Exit codes: 0 done; 1 no head CT in --dicom_dir, or --out_dir is not empty; 2 wrong usage.
"""

from __future__ import annotations

from absl import flags

from ich_tf.acceptance.config import InsertConfig
from ich_tf.runtime import command

command.define_flags(InsertConfig)
_WORKERS = flags.DEFINE_integer("num_workers", 0, "Worker processes; 0: one per core.")


def main() -> None:
    """Inserts the bleeds and prints what was written."""
    from ich_tf.acceptance.insert import insert_bleeds

    command.show(insert_bleeds(command.config_from_flags(InsertConfig), _WORKERS.value).report())


if __name__ == "__main__":
    command.run(main, __doc__)
