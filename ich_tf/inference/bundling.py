"""Bundles written, checked and unpacked. What is written or checked is loaded once, too."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ich_tf.errors import InputError
from ich_tf.inference.bundle_config import BundleConfig
from ich_tf.inference.bundle_contents import bundle_files
from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.models import run_files
from ich_tf.models.bundle import Bundle, is_bundle, naming, open_bundle
from ich_tf.models.bundle_archive import write_archive
from ich_tf.models.bundle_format import LIST, BadBundle
from ich_tf.models.origins import LEFT_OUT
from ich_tf.models.run_json import read_run
from ich_tf.models.shared_weights import read_card
from ich_tf.runtime.files import file_sha256, temporary_path
from ich_tf.runtime.strategies import make_strategy
from ich_tf.runtime.writing import writing

_NO_BUNDLE = "is no bundle. Give the file that python -m ich_tf.bundle wrote."


def make_bundle(config: BundleConfig) -> str:
    """Writes the bundle of a model. It appears under its name once its model was loaded from it.

    Returns:
      What was written, for people.

    Raises:
      InputError: If there is no model, a file of it is damaged, or there is another bundle already.
    """
    path = config.bundle_path
    predictor = load_predictor(config.work_dir, make_strategy("one"))
    files = bundle_files(
        config.work_dir,
        card_file=config.card_file,
        patient_hashes=config.patient_hashes,
        sha256=predictor.sha256,
    )
    temporary = temporary_path(path)
    with writing(path, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                sha256 = write_archive(file, files)
                file.flush()
                os.fsync(file.fileno())
            _compare(temporary, predictor)
            if path.is_file() and file_sha256(path) == sha256:
                return f"{_named(path, sha256)}\nThe file was there already."
            if path.exists() and not config.overwrite:
                raise InputError(
                    f"{path}: is there already, and is not this bundle. Give --overwrite to "
                    "replace it, or another --out_file."
                )
            temporary.replace(path)
        except BadBundle as error:
            raise InputError(f"{config.work_dir}: cannot be bundled: {error}.") from error
        finally:
            temporary.unlink(missing_ok=True)
    lines = [_named(path, sha256), f"  {path.stat().st_size:,} bytes, {1 + len(files)} files"]
    if ":" in (names := ", ".join(sorted({m.spec.backbone for m in predictor.members}))):
        lines.append(f"  its network is not part of ich_tf: {names} must be installed to use it")
    return "\n".join(lines)


def check_bundle(config: BundleConfig) -> str:
    """Checks every byte of a bundle, loads its model, and describes what it holds.

    Raises:
      InputError: If it is no bundle, or damaged, or its model cannot be loaded.
    """
    if not is_bundle(config.work_dir):
        raise InputError(f"{config.work_dir}: {_NO_BUNDLE}")
    bundle = open_bundle(config.work_dir)
    predictor = load_predictor(config.work_dir, make_strategy("one"))
    size = sum(entry.size for entry in bundle.entries)
    rows = {
        "written by": f"ich_tf {bundle.ich_tf}",
        "files": f"{len(bundle.entries)}, {size:,} bytes",
        **_describe(predictor),
    }
    with naming():
        rows |= {"card": _card(bundle.folder), "patients": _patients(bundle)}
    lines = [_named(bundle.path, bundle.sha256)]
    lines += [f"  {name:<13} {text}" for name, text in rows.items()]
    lines += ["", *(f"  {entry.size:>13,}  {entry.name}" for entry in bundle.entries)]
    return "\n".join(lines)


def unpack_bundle(config: BundleConfig) -> str:
    """Unpacks a bundle into a new folder, which is a work dir.

    Raises:
      InputError: If it is no bundle, or damaged, or the folder holds something.
    """
    if not is_bundle(config.work_dir):
        raise InputError(f"{config.work_dir}: {_NO_BUNDLE}")
    bundle, folder = open_bundle(config.work_dir), Path(config.unpack_dir)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: is there already. Give a new folder with --unpack_dir.")
    temporary = temporary_path(folder)
    with writing(folder, OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            for entry in bundle.entries:
                if entry.name != LIST:  # a list of what may be changed from now on
                    target = temporary / entry.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(bundle.folder / entry.name, target)
            if folder.exists():
                folder.rmdir()
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return f"{folder}: unpacked from {bundle.path}, SHA-256 {bundle.sha256}"


def _named(path: Path, sha256: str) -> str:
    return f"{path}\n  SHA-256 {sha256}"


def _compare(path: Path, predictor: Predictor) -> None:
    """Loads the model of a bundle, and compares it with the one that was bundled."""
    loaded = load_predictor(path, make_strategy("one"))
    hashes = [
        (each.sha256, each.postprocessing.sha256, [member.sha256 for member in each.members])
        for each in (loaded, predictor)
    ]
    if hashes[0] != hashes[1]:
        raise BadBundle("its model was changed while it was read")


def _describe(predictor: Predictor) -> dict[str, str]:
    """What a model is, for people."""
    side = predictor.record_shape[0]
    postprocessing = predictor.postprocessing
    calibration = postprocessing.describe()
    if postprocessing.sha256:
        calibration += f" (SHA-256 {postprocessing.sha256})"
    return {
        "model": predictor.describe(),
        "model SHA-256": predictor.sha256,
        "input": f"{side} px, windows {', '.join(predictor.windows)}, crop {predictor.crop}, "
        f"{predictor.neighbours} slice{'s' if predictor.neighbours > 1 else ''}",
        "classes": ", ".join(CLASSES),
        "masks": "yes" if MaskNetwork.of(predictor) is not None else "no",
        "calibration": calibration,
    }


def _card(folder: Path) -> str:
    """Title of the card of a folder."""
    card = read_card(folder)
    if card is not None:
        return card.title
    page = folder / run_files.CARD_PAGE
    if not page.is_file():
        return "none"
    lines = page.read_text("utf-8", "replace").splitlines()
    title = next((line.strip("# ") for line in lines if line.strip("# ")), "an empty page")
    return title[:200]


def _patients(bundle: Bundle) -> str:
    """Whether a bundle holds hashes of patients."""
    names = [entry.name for entry in bundle.entries if entry.name.endswith(run_files.RUN)]
    runs = [read_run((bundle.folder / name).parent) for name in names]
    if any(run.get("patients") for run in runs):
        return "hashes of those that it was trained on"
    return "no hashes" + (": left out" if any(run.get(LEFT_OUT) for run in runs) else "")
