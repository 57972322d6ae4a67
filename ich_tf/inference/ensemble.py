"""Which models a folder stands for: a run, the runs of its folds, or those that it names.

`ensemble.json` names weights of other folders, each with its share, relative to its own place.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ich_tf.errors import InputError
from ich_tf.models import run_files
from ich_tf.runtime.files import read_json, write_json

VERSION = 1
_COPY = "Copy it from where the model was trained."


@dataclass(frozen=True)
class Member:
    """A model of an ensemble.

    Attributes:
      work_dir: Of its run.
      weights: Path of its weights within it.
      share: Of the mean of probabilities.
      sha256: Of the weights; empty if it was not noted.
    """

    work_dir: Path
    weights: str = run_files.BEST_WEIGHTS
    share: float = 1.0
    sha256: str = ""

    def validation_fold(self) -> int:
        """The fold that it did not train on.

        Raises:
          InputError: If the run's config cannot be read.
        """
        path = self.work_dir / run_files.CONFIG
        try:
            return int(json.loads(path.read_text("utf-8"))["validation_fold"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: does not say which fold the run validated on ({error}). {_COPY}"
            ) from error

    def data_sha256(self) -> str:
        """The hash of the slices that it was trained on, as `Manifest.fingerprint` gives it."""
        data = read_json(self.work_dir / run_files.RUN, _COPY)["data"]
        return str(data.get("slices_sha256", data["sha256"]))


def runs_of(work_dir: str | Path) -> list[Path]:
    """The folder itself, or the runs of `--validation_fold=all` in it, by fold."""
    if (Path(work_dir) / run_files.MODEL).is_file():
        return [Path(work_dir)]
    found = {
        int(number): path
        for path in Path(work_dir).glob("fold-*")
        if (number := path.name.removeprefix("fold-")).isdecimal()
        and (path / run_files.MODEL).is_file()
    }
    return [found[number] for number in sorted(found)] or [Path(work_dir)]


def find_members(work_dir: str | Path) -> list[Member]:
    """The models that a folder stands for.

    Returns:
      Those that its `ensemble.json` names; else the one of its run; else those of its folds, with
      equal shares. Where there is none, the folder itself, which `checkpoints` then refuses.

    Raises:
      InputError: If `ensemble.json` is damaged.
    """
    work_dir = Path(work_dir)
    if (work_dir / run_files.ENSEMBLE).is_file():
        return _read_ensemble(work_dir)
    runs = runs_of(work_dir)
    return [Member(run, share=1 / len(runs)) for run in runs]


def combined_sha256(hashes: Sequence[str], shares: Iterable[float]) -> str:
    """One hash for weights and their shares, which are scaled to sum 1; in any order."""
    shares = list(shares)
    lines = [
        f"{sha256} {share / sum(shares):.9f}\n"
        for sha256, share in zip(hashes, shares, strict=True)
    ]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def write_ensemble(work_dir: str | Path, members: Sequence[Member]) -> None:
    """Writes `ensemble.json`."""
    work_dir = Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    content = [
        {
            "work_dir": Path(os.path.relpath(one.work_dir, work_dir)).as_posix(),
            "weights": one.weights,
            "share": one.share,
            "sha256": one.sha256,
        }
        for one in members
    ]
    write_json(work_dir / run_files.ENSEMBLE, {"version": VERSION, "members": content})


def _read_ensemble(work_dir: Path) -> list[Member]:
    path = work_dir / run_files.ENSEMBLE
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["version"] != VERSION or not content["members"]:
            raise ValueError("another version, or no members")
        return [
            Member(work_dir / one["work_dir"], one["weights"], float(one["share"]), one["sha256"])
            for one in content["members"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not an ensemble of this version of ich_tf ({error!r}). Run python -m "
            "ich_tf.calibrate --members=... to write it anew."
        ) from error
