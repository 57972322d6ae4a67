"""Export of weights as safetensors, by name, for other frameworks and as initial weights."""

from __future__ import annotations

import dataclasses
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.errors import InputError
from ich_tf.inference.ensemble import find_members
from ich_tf.models.safetensors_files import ENDING, SafetensorsFile, write_safetensors
from ich_tf.models.saved import load_model
from ich_tf.models.variable_names import named_arrays
from ich_tf.runtime.files import file_sha256, temporary_path, write_json
from ich_tf.runtime.keras2 import keras

FORMAT = "safetensors"
MANIFEST = "manifest.json"
_VERSION = "1"


def export_weights(work_dir: str | Path, folder: Path, version: int) -> Path:
    """Writes the weights of a model, or of each member of an ensemble, and reads them again.

    Args:
      work_dir: Folder of the model.
      folder: Folder of the version; one that exists is replaced.
      version: Number of the version.

    Returns:
      The folder: `model.safetensors`, or `model-0.safetensors` and so on.

    Raises:
      InputError: If there is no model, or the files cannot be written.
    """
    members = find_members(work_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(folder)
    temporary.mkdir()
    sources: dict[str, Any] = {}
    try:
        for number, member in enumerate(members):
            model, spec, sha256 = load_model(member.work_dir, member.weights, member.sha256)
            name = f"model-{number}{ENDING}" if len(members) > 1 else f"model{ENDING}"
            source = {
                "spec": dataclasses.asdict(spec),
                "share": member.share,
                "weights_sha256": sha256,
            }
            sources[name] = source
            about = {
                "ich_tf": metadata.version("ich-tf"),
                "ich_tf_weights": _VERSION,
                **source,
            }
            arrays = named_arrays(model)
            write_safetensors(temporary / name, arrays, about)
            _compare(temporary / name, arrays)
            keras.backend.clear_session()
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    content = {
        "version": version,
        "formats": [FORMAT],
        "models": sources,
        "note": "Research only. Not for clinical use.",
        "sha256": {f"{folder.name}/{name}": file_sha256(folder / name) for name in sources},
    }
    write_json(folder.parent / MANIFEST, content)
    return folder


def _compare(path: Path, arrays: dict[str, np.ndarray]) -> None:
    written = SafetensorsFile(path.read_bytes())
    for name, array in arrays.items():
        if written.read(name).tobytes() != array.tobytes():
            raise InputError(f"{path.name}: {name} reads otherwise than it was written.")
