"""The models of a folder: a run, the runs of all folds, or the members of an ensemble.

`ensemble.json` lists weights of other folders with their shares. Paths are relative to the folder
of the file, so that folders can be moved together.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ich_tf.errors import InputError
from ich_tf.models import run_files
from ich_tf.models.bundle import model_folder, shown
from ich_tf.models.origins import Origin, data_of, read_origin
from ich_tf.models.run_json import read_run
from ich_tf.models.spec_limits import check_places
from ich_tf.runtime.files import MOST_MODEL_JSON_BYTES, parse_json, read_text, write_json
from ich_tf.runtime.json_types import read_value

VERSION = 1
# Beginning of the name of a seed's folder.
SEED = "seed-"
# What training makes in a folder, which is its model.
RUN_ITSELF, FOLDS, SEEDS = "a run", "the runs of folds", "the runs of seeds"
AN_ENSEMBLE = "an ensemble"
_MOST_SHARE = 1e9
# Each is loaded, and runs on each slice.
_MOST_MEMBERS = 256
_WEIGHTS = re.compile(
    rf"{re.escape(run_files.BEST_WEIGHTS)}|{run_files.EPOCHS}/epoch-\d+\.weights\.h5"
)
_COPY = "Copy it from where the model was trained."


@dataclass(frozen=True)
class Member:
    """A model of an ensemble.

    Attributes:
      work_dir: Folder of its run.
      weights: Path of the weights within `work_dir`.
      share: Share in the mean of probabilities, above 0.
      sha256: SHA-256 of the weights; empty if unknown.
    """

    work_dir: Path
    weights: str = run_files.BEST_WEIGHTS
    share: float = 1.0
    sha256: str = ""

    @property
    def name(self) -> str:
        """Folder of its run, or its place in a bundle, for messages."""
        return shown(self.work_dir)

    def validation_fold(self) -> int:
        """Returns the fold that the model was validated on, and not trained on.

        Raises:
          InputError: If the run's config cannot be read.
        """
        path = self.work_dir / run_files.CONFIG
        try:
            config = read_value(dict[str, Any], parse_json(read_text(path, MOST_MODEL_JSON_BYTES)))
            return int(read_value(str, config["validation_fold"], "validation_fold"))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: does not say which fold the run validated on ({error}). {_COPY}"
            ) from error

    def data_sha256(self) -> str:
        """Returns the SHA-256 of the data that it was trained on (`Manifest.fingerprint`).

        Raises:
          InputError: If `run.json` cannot be read.
        """
        return data_of(read_run(self.work_dir, _COPY)["data"])

    def origin(self) -> Origin:
        """Returns the origin of its weights.

        Raises:
          InputError: If `run.json` or the run's config cannot be read.
        """
        origin = read_origin(self.work_dir)
        return dataclasses.replace(origin, validation_fold=self.validation_fold())


@dataclass(frozen=True)
class _Entry:
    """A member in `ensemble.json`."""

    work_dir: str
    weights: str
    share: float
    sha256: str


def runs_of(work_dir: str | Path) -> list[Path]:
    """Returns the runs of `--validation_fold=all` in a folder, by fold; else the folder itself."""
    if (Path(work_dir) / run_files.MODEL).is_file():
        return [Path(work_dir)]
    folds = _numbered(Path(work_dir), "fold-")
    return [fold for fold in folds if (fold / run_files.MODEL).is_file()] or [Path(work_dir)]


def seeds_of(work_dir: str | Path) -> list[Path]:
    """Returns the folders of the seeds of `--seeds` in a folder, by seed; else the folder itself.

    Each is the folder of a run, or of the runs of all folds.
    """
    if (Path(work_dir) / run_files.MODEL).is_file():
        return [Path(work_dir)]
    seeds = _numbered(Path(work_dir), SEED)
    return [seed for seed in seeds if (runs_of(seed)[0] / run_files.MODEL).is_file()] or [
        Path(work_dir)
    ]


def refuse_other_model(work_dir: str | Path, kind: str) -> None:
    """Refuses a folder for a model, if other commands would take something else for its model.

    Args:
      work_dir: The folder.
      kind: What it is to hold: `RUN_ITSELF`, `FOLDS`, `SEEDS` or `AN_ENSEMBLE` of other runs.

    Raises:
      InputError: If it holds something of another kind. A run that is there already may continue.
    """
    folder = Path(work_dir)
    found = {
        RUN_ITSELF: (folder / run_files.MODEL).is_file(),
        FOLDS: runs_of(folder) != [folder],
        SEEDS: seeds_of(folder) != [folder],
        AN_ENSEMBLE: (folder / run_files.ENSEMBLE).is_file(),
    }
    if kind in (FOLDS, SEEDS):
        # That of its own runs, which `calibrate` wrote.
        del found[AN_ENSEMBLE]
    elif kind == RUN_ITSELF and found[RUN_ITSELF]:
        return
    other = next((name for name, is_there in found.items() if is_there and name != kind), None)
    if other is not None:
        raise InputError(
            f"{folder}: holds {other}, and cannot hold {kind} as well: other commands take a "
            "folder for one model. Give another --work_dir."
        )


def _numbered(folder: Path, prefix: str) -> list[Path]:
    """The folders of a name and a number within a folder, by number."""
    numbers = {
        int(number): path
        for path in folder.glob(f"{prefix}*")
        if (number := path.name.removeprefix(prefix)).isdecimal()
    }
    return [numbers[number] for number in sorted(numbers)]


def find_members(work_dir: str | Path) -> list[Member]:
    """Finds the models of a folder.

    Args:
      work_dir: Folder of an ensemble, of a run, or of runs by fold, by seed, or by both; or a
        bundle of one.

    Returns:
      The members of `ensemble.json`; else the model of the run; else those of the seeds and folds,
      with equal shares. For a folder without a model the folder itself, which `models.saved` then
      refuses.

    Raises:
      InputError: If `ensemble.json` or the bundle is damaged.
    """
    work_dir = model_folder(work_dir)
    if (work_dir / run_files.ENSEMBLE).is_file():
        return _read_ensemble(work_dir)
    runs = [run for seed in seeds_of(work_dir) for run in runs_of(seed)]
    return [Member(run, share=1 / len(runs)) for run in runs]


def combined_sha256(hashes: Sequence[str], shares: Iterable[float]) -> str:
    """Hashes weights and shares.

    Args:
      hashes: SHA-256 of the weights of each model, in any order.
      shares: Share of each model; only their ratios count.
    """
    shares = list(shares)
    lines = [
        f"{sha256} {share / sum(shares):.9f}\n"
        for sha256, share in zip(hashes, shares, strict=True)
    ]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def check_members(work_dir: str | Path, members: Sequence[Member]) -> None:
    """Checks that models can be the members of an ensemble, before they take time.

    Args:
      work_dir: Folder of the ensemble, which may not be there yet.
      members: The models.

    Raises:
      InputError: If there are too many members, or one is there twice.
    """
    try:
        _check_members(Path(work_dir), members)
    except ValueError as error:
        raise InputError(f"{work_dir}: cannot be an ensemble: {error}.") from error


def write_ensemble(work_dir: str | Path, members: Sequence[Member]) -> None:
    """Writes `ensemble.json` into a folder, which is made if it is missing.

    Raises:
      InputError: If there are too many members, or one is there twice.
    """
    check_members(work_dir, members)
    work_dir = Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    content = {"version": VERSION, "members": _entries(work_dir, members)}
    write_json(work_dir / run_files.ENSEMBLE, content)


def _entries(work_dir: str | Path, members: Sequence[Member]) -> list[dict[str, Any]]:
    folder = Path(work_dir).resolve()
    return [
        {
            # The system finds ".." behind a link, where the link leads to.
            "work_dir": Path(os.path.relpath(member.work_dir.resolve(), folder)).as_posix(),
            "weights": member.weights,
            "share": member.share,
            "sha256": member.sha256,
        }
        for member in members
    ]


def _check_members(folder: Path, members: Sequence[Member]) -> None:
    """Checks number and places of members, whatever the spelling of their paths."""
    if len(members) > _MOST_MEMBERS:
        raise ValueError(f"it has {len(members)} members; expected {_MOST_MEMBERS} at most")
    places = [(member.work_dir / member.weights).resolve() for member in members]
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        text = os.path.relpath(twice, folder.resolve())
        raise ValueError(f"it names {text[:80]!r} twice; expected each member once")


def _read_ensemble(work_dir: Path) -> list[Member]:
    path = work_dir / run_files.ENSEMBLE
    try:
        content = parse_json(read_text(path, MOST_MODEL_JSON_BYTES))
        if content["version"] != VERSION or not content["members"]:
            raise ValueError("another version, or no members")
        members = [
            Member(work_dir / entry.work_dir, entry.weights, entry.share, entry.sha256)
            for entry in read_value(tuple[_Entry, ...], content["members"], "members")
        ]
        check_places("members", [entry["work_dir"] for entry in content["members"]])
        _check_members(Path(work_dir), members)
        if not all(0 < member.share <= _MOST_SHARE for member in members):
            raise ValueError("shares that are not above 0")
        if not all(_WEIGHTS.fullmatch(member.weights) for member in members):
            raise ValueError("weights that are not a run's best or those of an epoch")
        return members
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not an ensemble of this version of ich_tf ({error!r}). Run python -m "
            "ich_tf.calibrate --members=... to write it anew."
        ) from error
