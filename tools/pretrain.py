"""Trains weights on synthetic patients, to start from on real ones: what `make pretrain` runs.

  python -m tools.pretrain --size=cpu

Phantoms -> TFRecords -> training -> calibration -> scores on held-out phantoms, of the same kind
and of another -> a folder with the weights and a card of how they were made, for --weights=FOLDER
of any recipe with the same backbone (docs/pretraining.md). Run again, it keeps what is done.

Exit codes: 0 done; 1 a step failed, or --data_dir holds other phantoms; 2 wrong usage.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from ich_tf.runtime import command
from ich_tf.runtime.flagfiles import expand
from tools.steps import run_step

if TYPE_CHECKING:
    from ich_tf.models.shared_weights import MeasuredScore

command.add_headings({"size": "Size", "data_dir": "Folders"})
_SIZE = flags.DEFINE_enum(
    "size",
    "cpu",
    ["cpu", "gpu"],
    "cpu: 140 patients at 96 px, for two cores; gpu: 1,500 patients at 224 px, for one GPU.",
)
_PHANTOM_FLAGS = flags.DEFINE_string(
    "phantom_flags", "", "More flags of make_phantoms, such as '--num_patients=100'."
)
_OTHER_FLAGS = flags.DEFINE_string(
    "other_flags", "", "More flags of make_phantoms for the phantoms of another kind."
)
_TRAINING_FLAGS = flags.DEFINE_string(
    "training_flags", "", "More flags of train, such as '--backbone=efficientnet_b4 --epochs=4'."
)
_DATA_DIR = command.define_path(
    "data_dir", "data/pretrain", "Folder for the phantoms and their records."
)
_WORK_DIR = command.define_path("work_dir", "runs/pretrain", "Folder of the training.")
_OUT_DIR = command.define_path(
    "out_dir", "runs/pretrained", "Folder for the weights and their card, to copy and share."
)

# Height and width of the records, px: somewhat more than the network sees, for its augmentation.
_RECORD_SIZES = {"cpu": 128, "gpu": 256}
_SUFFIXES = {"cpu": "", "gpu": "_gpu"}
_FLAGS_FILE = "flags.txt"
# Flags of the steps that this tool sets.
_FOLDERS = ("data_dir", "work_dir", "out_dir")


def main() -> None:
    """Runs the steps, writes the folder of the weights, and prints what its card claims."""
    from tools.weights_card import share

    data_dir, work_dir = Path(_DATA_DIR.value), Path(_WORK_DIR.value)
    # A flag that is wrong is told before hours of work.
    phantom_flags, other_flags, training_flags = map(
        _given, (_PHANTOM_FLAGS, _OTHER_FLAGS, _TRAINING_FLAGS)
    )
    records = _make_records(
        data_dir, f"--flagfile=@pretrain_phantoms{_SUFFIXES[_SIZE.value]}", *phantom_flags
    )
    run_step(
        "ich_tf.train",
        f"--flagfile=@pretrain{_SUFFIXES[_SIZE.value]}",
        f"--data_dir={records}",
        f"--work_dir={work_dir}",
        *training_flags,
    )
    run_step("ich_tf.calibrate", f"--data_dir={records}", f"--work_dir={work_dir}")
    # Nobody trains on them: nearly all are the test split.
    others = _make_records(
        data_dir / "others",
        "--flagfile=@pretrain_others",
        *other_flags,
        conversion=("--test_fraction=0.85", "--num_folds=2"),
    )
    measured = [
        *_evaluate(records, work_dir, "test", "held-out synthetic patients of the same kind"),
        *_evaluate(others, work_dir, "others", "synthetic patients of another kind"),
    ]
    card = share(Path(_OUT_DIR.value), work_dir, data_dir / "phantoms", measured)
    print(
        f"\n{card.title}: written to {_OUT_DIR.value}\n{card.claim}\n"
        f"Start a training on your own records from it: --weights={_OUT_DIR.value}"
    )


def _given(holder: flags.FlagHolder[str]) -> list[str]:
    """The flags that a flag of this tool holds.

    Raises:
      UsageError: If quotes are not closed, or a folder is given that has a flag of this tool.
    """
    from ich_tf.errors import UsageError

    try:
        found = shlex.split(holder.value)
    except ValueError as error:
        raise UsageError(f"--{holder.name}={holder.value}: {error}. Close the quotes.") from error
    for flag in found:
        if flag.lstrip("-").split("=")[0] in _FOLDERS:
            raise UsageError(
                f"--{holder.name}: holds {flag}. Give the folders by --data_dir, --work_dir and "
                "--out_dir of this tool."
            )
    return found


def _evaluate(records: Path, work_dir: Path, name: str, data: str) -> list[MeasuredScore]:
    """Scores the model on the test split of some records.

    Args:
      records: Folder of the records.
      work_dir: Folder of the model.
      name: Name of the folder of results, in the work dir.
      data: Description of the patients.
    """
    from ich_tf.models.run_files import BEST_WEIGHTS
    from ich_tf.runtime.files import file_sha256
    from tools.weights_card import scores_of

    out_dir = work_dir / "evaluation" / name
    given = (f"--data_dir={records}", f"--work_dir={work_dir}", f"--out_dir={out_dir}")
    run_step("ich_tf.evaluate", *given)
    command_line = f"python -m ich_tf.evaluate {' '.join(given)}"
    sha256 = file_sha256(work_dir / BEST_WEIGHTS)
    return scores_of(out_dir / "metrics.json", data, command_line, weights_sha256=sha256)


def _make_records(folder: Path, *given: str, conversion: Sequence[str] = ()) -> Path:
    """Writes phantoms and their records, unless they are there.

    Args:
      folder: Folder for both.
      *given: Flags of the phantoms.
      conversion: More flags of their conversion.

    Raises:
      InputError: If others are there, or a command fails.
    """
    from ich_tf.errors import InputError
    from ich_tf.phantom.dataset import MANIFEST
    from ich_tf.runtime.files import write_text

    phantoms, records, noted = (folder / name for name in ("phantoms", "tfrecords", _FLAGS_FILE))
    text = "".join(f"{flag}\n" for flag in expand(given))
    if not (phantoms / MANIFEST).is_file():
        # Noted first: phantoms that are whole have a note, wherever this is interrupted.
        folder.mkdir(parents=True, exist_ok=True)
        write_text(noted, text)
        run_step("ich_tf.make_phantoms", *given, f"--out_dir={phantoms}", "--overwrite")
    elif not noted.is_file() or noted.read_text("utf-8") != text:
        raise InputError(
            f"{noted}: the phantoms in {folder} are of other flags. Give another --data_dir and "
            "--work_dir, or delete both folders."
        )
    run_step(
        "ich_tf.make_tfrecords",
        f"--dicom_dir={phantoms / 'stage_2_train'}",
        f"--labels_csv={phantoms / 'stage_2_train.csv'}",
        f"--out_dir={records}",
        f"--image_size={_RECORD_SIZES[_SIZE.value]}",
        "--crop=head",
        # Small shards: an epoch draws from several at once.
        "--shard_mb=16",
        *conversion,
    )
    return records


if __name__ == "__main__":
    command.run(main, __doc__)
