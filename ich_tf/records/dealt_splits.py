"""splits.json: the split of every patient that a folder ever held, so that none ever moves.

A patient who is away for a run, or whose plan is damaged, comes back to the same split.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from ich_tf.errors import DataError
from ich_tf.records.data_files import SPLITS
from ich_tf.runtime import files


def splits_text(splits: Mapping[str, str]) -> str:
    """Text of splits.json.

    Args:
      splits: Split of each patient, by key.
    """
    return files.json_text({"sha256": _sha256(splits), "splits": dict(splits)})


def save_splits(folder: Path, splits: Mapping[str, str]) -> None:
    """Writes splits.json atomically; an empty mapping, as of data without labels, has no file."""
    if splits:
        files.write_text(folder / SPLITS, splits_text(splits))
    else:
        (folder / SPLITS).unlink(missing_ok=True)


def load_splits(folder: Path) -> dict[str, str]:
    """Reads splits.json.

    Args:
      folder: Folder of the shards.

    Returns:
      Split of each patient, by key; empty if there is no such file.

    Raises:
      DataError: If it is damaged.
    """
    path = folder / SPLITS
    if not path.is_file():
        return {}
    try:
        content = files.read_json(path)
        splits = {str(patient): str(split) for patient, split in content["splits"].items()}
        is_sound = content["sha256"] == _sha256(splits) and splits_text(splits) == path.read_text()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not the splits of a conversion ({error!r}).") from error
    if not is_sound:
        raise DataError(f"{path}: was changed after it was written.")
    return splits


def _sha256(splits: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(splits, sort_keys=True).encode()).hexdigest()
