"""Writes synthetic head CT studies in the layout of the RSNA challenge.

  python -m ich_tf.make_phantoms --out_dir=data/phantoms --num_patients=60

--out_dir then holds stage_2_train/ and stage_2_test/ (DICOM files), stage_2_train.csv,
stage_2_sample_submission.csv, phantoms.json with all flags, and, unlike the real data, the labels
of the test set, stage_2_test_labels.csv. With --realism=full also bleeds.csv: volume, density and
age of each bleed, and the shift of the midline. These flags give the proportions of RSNA's data:
  --bleed_fraction=0.4
  --subtype_shares=epidural=.02,intraparenchymal=.3,intraventricular=.08,subarachnoid=.25,subdural=.35
Phantoms are simulated images, not patients: for tests and demonstrations only.

Exit codes: 0 done; 1 --out_dir is not empty; 2 wrong usage.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from absl import flags

from ich_tf.phantom.config import PhantomConfig
from ich_tf.runtime import command

if TYPE_CHECKING:
    from ich_tf.phantom import PhantomSummary

command.add_headings({"out_dir": "Folder and processes"})
_OUT = command.define_path(
    "out_dir", "data/phantoms", "Folder to write; it must be empty or missing."
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "First remove the files that an earlier run wrote into --out_dir, and no others.",
)
_WORKERS = flags.DEFINE_integer("num_workers", 0, "Worker processes; 0: one per core.")
command.define_flags(PhantomConfig)
command.hold_no_patients()


def main() -> None:
    """Writes the phantoms and prints how many slices have each class."""
    from ich_tf.phantom import write_dataset
    from ich_tf.runtime.progress import track

    config = command.config_from_flags(PhantomConfig)
    start = time.monotonic()
    summary = write_dataset(
        _OUT.value,
        config,
        _WORKERS.value,
        overwrite=_OVERWRITE.value,
        track=lambda items, total: track(items, total, "phantoms", "patient"),
    )
    command.show(_describe(summary, time.monotonic() - start))


def _describe(summary: PhantomSummary, seconds: float) -> str:
    total = sum(summary.slices.values())
    lines = [f"{total} slices in {seconds:.0f} s ({total / seconds:.0f} a second)"]
    for split in ("train", "test"):
        slices = summary.slices[split]
        lines.append(
            f"{split}: {summary.patients[split]} patients, {summary.studies[split]} studies, "
            f"{slices} slices"
        )
        lines += [
            f"  {name:<17} {count:6d} slices, {count / max(slices, 1):7.2%}"
            for name, count in summary.positives[split].items()
        ]
    lines.append(f"written to {summary.out_dir}")
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main, __doc__)
