"""Bundles of tests: small ones that hold no network, and models of every kind."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from ich_tf.models.bundle_archive import write_archive
from ich_tf.runtime.files import write_json

MODEL = {"spec": {"backbone": "tiny"}, "sha256": "", "previous_sha256": None}
FILES = {
    "best.weights.h5": b"weights",
    "model.json": json.dumps(MODEL).encode(),
    "card.md": b"# A small model\n",
}


def write_bundle(path: Path, files: Mapping[str, bytes] | None = None) -> Path:
    """Writes a bundle of some files."""
    with open(path, "wb") as file:
        write_archive(file, FILES if files is None else files)
    return path


def fake_run(folder: Path, weights: bytes, **spec: object) -> str:
    """Writes the files of a run of which only names and hashes count; its weights' SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = hashlib.sha256(weights).hexdigest()
    (folder / "best.weights.h5").write_bytes(weights)
    content = {"spec": {"backbone": "tiny", **spec}, "sha256": sha256, "previous_sha256": "old"}
    write_json(folder / "model.json", {**content, "epoch": 1, "val_loss": 0.5})
    return sha256
