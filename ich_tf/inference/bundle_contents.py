"""What goes into a bundle: weights and specs as they are, and of a run's files what others need.

    model.json, best.weights.h5            of the run, or of each member in a folder of its own
    axes.npz, network-0/, ...              of a model over features, and the networks that it reads
    ensemble.json, calibration.json        where there is one
    config.json, run.json                  of each run, reduced (`reduced_config`, `reduced_run`)
    card.json, card.md                     for people

Histories, checkpoints, logs and predictions stay behind, and so do paths and what names a patient.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ich_tf.errors import DataError, InputError
from ich_tf.inference.ensemble import VERSION, Member, find_members
from ich_tf.models import run_files
from ich_tf.models.bundle import model_folder, naming
from ich_tf.models.bundle_archive import Content
from ich_tf.models.bundle_format import FOLDER, MEMBER, NETWORK
from ich_tf.models.feature_axes import AXES
from ich_tf.models.origins import LEFT_OUT
from ich_tf.models.run_json import read_run
from ich_tf.models.shared_weights import read_card
from ich_tf.runtime.files import file_sha256, json_text, read_json

# Options of a training that are text, and of which none can be a path.
_TEXTS = (
    "backbone", "validation_fold", "neighbour_stem", "pooling", "sequence", "optimizer",
    "schedule", "strategy", "mixed_precision", "xla", "augment_on",
)  # fmt: skip
# What `Task.data` holds: hashes, numbers, and the form of the records.
_DATA = (
    "sha256", "slices_sha256", "records", "encoding", "image_size", "windows", "crop", "networks",
    "feature_dim",
)  # fmt: skip
_MODEL_CARD = Path("evaluation", "test", "model_card.md")
# A path from the root or the home folder, of which the last name stays.
_PATH = re.compile(r"(?<![\w.:/~<-])(?:~[\w.-]*)?/(?:[^\s/`\"'|,;:)(=<>]+/)*([^\s/`\"'|,;:)(=<>]+)")


def bundle_files(
    work_dir: str | Path, *, card_file: str = "", patient_hashes: bool = False, sha256: str = ""
) -> dict[str, Content]:
    """Collects the files of a bundle.

    Args:
      work_dir: Folder of a model, which was loaded before: its weights are those of its specs.
      card_file: Page about the model; empty for the one in the folder, if there is one.
      patient_hashes: Whether to keep the hashes of patients.
      sha256: SHA-256 of the model (`Predictor.sha256`).

    Returns:
      Name within the bundle -> bytes, or where they lie.

    Raises:
      InputError: If a file is missing or damaged.
    """
    with naming():
        folder = model_folder(work_dir)
        members = find_members(work_dir)
        places = _places(folder, members)
        files: dict[str, Content] = {}
        networks = _networks(members[0], files)
        for member in members:
            _add_member(files, member, places[member.work_dir], networks, patient_hashes)
        if (folder / run_files.ENSEMBLE).is_file():
            files[run_files.ENSEMBLE] = _json(
                {"version": VERSION, "members": _list(members, places)}
            )
        if (folder / run_files.CALIBRATION).is_file():
            files[run_files.CALIBRATION] = (folder / run_files.CALIBRATION).read_bytes()
        files.update(_cards(folder, card_file, sha256))
    return files


def _places(folder: Path, members: Sequence[Member]) -> dict[Path, str]:
    """Folder of each run within the bundle; empty for the bundle itself."""
    places: dict[Path, str] = {}
    for run in dict.fromkeys(member.work_dir for member in members):
        name = Path(os.path.relpath(run.resolve(), folder.resolve())).as_posix()
        if name == ".":
            places[run] = ""
        elif FOLDER.fullmatch(name) and not name.startswith(NETWORK):
            places[run] = name
    number = 0
    for run in dict.fromkeys(member.work_dir for member in members):
        if run not in places:
            while f"{MEMBER}{number}" in places.values():
                number += 1
            places[run] = f"{MEMBER}{number}"
    return places


def _networks(member: Member, files: dict[str, Content]) -> dict[str, str]:
    """Adds the networks that a model over features reads.

    Returns:
      SHA-256 of each network's weights -> its folder within the bundle.
    """
    spec = read_json(member.work_dir / run_files.MODEL)["spec"]
    folders: dict[str, str] = {}
    for path, sha256 in zip(spec.get("network_dirs", []), spec.get("networks", []), strict=True):
        if sha256 in folders:
            continue
        name = folders[sha256] = f"{NETWORK}{len(folders)}"
        source = member.work_dir / path
        files[f"{name}/{run_files.MODEL}"] = _model(source, {}, name)
        files[f"{name}/{run_files.BEST_WEIGHTS}"] = source / run_files.BEST_WEIGHTS
    return folders


def _add_member(
    files: dict[str, Content],
    member: Member,
    place: str,
    networks: Mapping[str, str],
    patient_hashes: bool,
) -> None:
    prefix = f"{place}/" if place else ""
    files[f"{prefix}{member.weights}"] = member.work_dir / member.weights
    files[f"{prefix}{run_files.MODEL}"] = _model(member.work_dir, networks, place)
    if networks:
        files[f"{prefix}{AXES}"] = member.work_dir / AXES
    config, run = member.work_dir / run_files.CONFIG, member.work_dir / run_files.RUN
    if config.is_file():
        files[f"{prefix}{run_files.CONFIG}"] = _json(reduced_config(read_options(config)))
    if run.is_file():
        content = reduced_run(read_run(member.work_dir), patient_hashes=patient_hashes)
        files[f"{prefix}{run_files.RUN}"] = _json(content)


def _list(members: Sequence[Member], places: Mapping[Path, str]) -> list[dict[str, Any]]:
    return [
        {
            "work_dir": places[member.work_dir] or ".",
            "weights": member.weights,
            "share": member.share,
            "sha256": member.sha256 or file_sha256(member.work_dir / member.weights),
        }
        for member in members
    ]


def _model(run: Path, networks: Mapping[str, str], place: str) -> bytes:
    """model.json, with the folders of networks as they lie in the bundle.

    Args:
      run: Folder of the run.
      networks: SHA-256 of a network's weights -> its folder within the bundle.
      place: Folder of the run within the bundle.
    """
    content = read_json(run / run_files.MODEL)
    spec = content["spec"]
    if "network_dirs" in spec:
        spec["network_dirs"] = [
            Path(os.path.relpath(networks[sha256], place or ".")).as_posix()
            for sha256 in spec["networks"]
        ]
    weights = run / run_files.BEST_WEIGHTS
    if weights.is_file():  # where epochs are averaged, there may be others alone
        content["sha256"] = file_sha256(weights)
    return _json({**content, "spec": spec, "previous_sha256": None})


def reduced_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a training without those that could be paths or names of its machine."""
    reduced = {
        name: value
        for name, value in config.items()
        if name in _TEXTS or isinstance(value, bool | int | float)
    }
    if "weights" in config:
        weights = config["weights"]
        reduced["weights"] = weights if weights in ("imagenet", "none") else "other weights"
    return reduced


def read_options(path: Path) -> dict[str, Any]:
    """Reads the options of a config.json.

    Raises:
      DataError: If the file holds something else.
    """
    options = read_json(path)
    if not isinstance(options, dict):
        raise DataError(f"{path}: is no config of a training; expected an object of options.")
    return options


def reduced_run(run: Mapping[str, Any], *, patient_hashes: bool) -> dict[str, Any]:
    """run.json without its sessions, and without the hashes of patients unless they are wanted.

    Args:
      run: Content of run.json.
      patient_hashes: Whether to keep the hashes of patients.
    """
    reduced = {
        "data": {name: value for name, value in run["data"].items() if name in _DATA},
        **{name: run[name] for name in ("origin", "ancestors", "patients") if name in run},
    }
    if patient_hashes or "patients" not in run:
        return {**reduced, **{name: run[name] for name in (LEFT_OUT,) if name in run}}
    return {**reduced, "patients": {}, LEFT_OUT: True}


def _cards(folder: Path, card_file: str, sha256: str) -> dict[str, Content]:
    """The card for --weights, and the page for people, without the paths of this machine."""
    files: dict[str, Content] = {}
    page = folder / run_files.CARD_PAGE
    if (card := read_card(folder)) is not None:
        training = reduced_config(card.training)
        files[run_files.CARD] = _json(
            {**without_paths(dataclasses.asdict(card)), "training": training}
        )
    if card_file:
        files[run_files.CARD_PAGE] = _page(Path(card_file))
    elif page.is_file():
        # In a stranger's folder it may lead to a file that nobody wants to pass on.
        if page.is_symlink():
            raise InputError(f"{page}: is a link. Give the page itself with --card_file.")
        files[run_files.CARD_PAGE] = _page(page)
    elif (folder / _MODEL_CARD).is_file() and sha256:
        text = _page(folder / _MODEL_CARD)
        if sha256.encode() in text:
            files[run_files.CARD_PAGE] = text
    return files


def _page(path: Path) -> bytes:
    try:
        return str(without_paths(path.read_text("utf-8"))).encode()
    except OSError as error:
        raise InputError(f"{path}: the card cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the card is not UTF-8 text (byte {error.start}).") from error


def without_paths(value: Any) -> Any:
    """A text, or the texts within a JSON value, with the last name alone of each absolute path.

    Examples:
      >>> without_paths("`--data_dir=/home/a/ct`, https://x.org/a, 24 / 128, left/right")
      '`--data_dir=ct`, https://x.org/a, 24 / 128, left/right'
    """
    if isinstance(value, str):
        return _PATH.sub(lambda match: match[1], value.replace("file://", ""))
    if isinstance(value, list | tuple):
        return [without_paths(each) for each in value]
    if isinstance(value, dict):
        return {name: without_paths(each) for name, each in value.items()}
    return value


def _json(content: Any) -> bytes:
    return json_text(content).encode()
