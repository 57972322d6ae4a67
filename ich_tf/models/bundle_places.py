"""Places that files of a bundle name: folders of members and networks, all of them within it."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any

from ich_tf.models import run_files
from ich_tf.models.bundle_format import BadBundle
from ich_tf.runtime.files import parse_json


def check_places(folder: Path, names: set[str]) -> None:
    """Checks that specs and lists of members name files of the bundle, and none outside.

    Args:
      folder: Folder of the unpacked bundle.
      names: Names of its files.

    Raises:
      BadBundle: If they do not.
    """
    for name in sorted(names):
        here, file = posixpath.split(name)
        if file == run_files.MODEL:
            for network in _networks(_read(folder, name)):
                _check_place(names, here, network, run_files.MODEL, name)
                _check_place(names, here, network, run_files.BEST_WEIGHTS, name)
        elif file == run_files.ENSEMBLE:
            content = _read(folder, name)
            try:
                pairs = [(entry["work_dir"], entry["weights"]) for entry in content["members"]]
            except (KeyError, TypeError) as error:
                raise BadBundle(f"{name} is no list of members ({error!r})") from error
            for work_dir, weights in pairs:
                _check_place(names, here, work_dir, run_files.MODEL, name)
                _check_place(names, here, work_dir, weights, name)


def _networks(content: Any) -> list[Any]:
    """Folders of the networks that a model over features reads, as its spec names them."""
    try:
        networks = content["spec"].get("network_dirs", [])
        return list(networks)
    except (AttributeError, KeyError, TypeError) as error:
        raise BadBundle(f"{run_files.MODEL} describes no model ({error!r})") from error


def _check_place(names: set[str], here: str, work_dir: Any, file: Any, name: str) -> None:
    if not (isinstance(work_dir, str) and isinstance(file, str)):
        raise BadBundle(f"{name} names no folder")
    if posixpath.normpath(posixpath.join(here, work_dir, file)) not in names:
        raise BadBundle(f"{name} names {work_dir[:80]!r}, which it does not hold")


def _read(folder: Path, name: str) -> Any:
    try:
        return parse_json((folder / name).read_text("utf-8"))
    except ValueError as error:
        raise BadBundle(f"{name} is not JSON ({error})") from error
