"""Bundles: a model in one file, which is taken wherever the folder of a run is.

`model_folder` is the one place that tells a folder from a bundle. A bundle is unpacked into a
private folder (`runtime.private_folder`) once a process; whoever reads a model reads a folder.
`model.zip#sha256=<64 digits>` names a bundle that must have this SHA-256.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ich_tf.errors import DataError, InputError
from ich_tf.models.bundle_archive import open_archive, unpack_archive
from ich_tf.models.bundle_format import START_BYTES, BadBundle, Entry, starts_as_bundle
from ich_tf.models.bundle_places import check_places
from ich_tf.runtime.files import NotRegularError, is_temporary, only_regular
from ich_tf.runtime.names import printable
from ich_tf.runtime.private_folder import make_private_folder, remove_private_folder
from ich_tf.runtime.writing import writing

_LOG = logging.getLogger(__name__)
_PIN = "#sha256="
_END = ".zip"
# What results of a bundle are written to by default, beside it.
_RESULTS = "_results"
# Free space that is left, bytes.
_MARGIN = 64 << 20
# Of what is wrong with a bundle, which may quote it, characters.
_LONGEST = 300
_MIB = 1 << 20
# Why a command that calibrates refuses a bundle, for `refuse_bundle`.
NO_CALIBRATION = "into which no calibration is written"
_ADVICE = "Give a bundle as python -m ich_tf.bundle wrote it, or the folder of a run."


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A bundle that this process has unpacked.

    Attributes:
      path: Path that was given, without the expected hash.
      folder: Private folder of its files, a work dir.
      sha256: SHA-256 of the bundle.
      ich_tf: Version of ich_tf that wrote it.
      entries: Its files, in their order.
    """

    path: Path
    folder: Path
    sha256: str
    ich_tf: str
    entries: tuple[Entry, ...]


# Bundles of this process: by SHA-256, and by what the file system says of their files.
_BY_HASH: dict[str, Bundle] = {}
_BY_STATUS: dict[tuple[int, ...], Bundle] = {}
_LOCK = threading.RLock()


def model_folder(work_dir: str | Path) -> Path:
    """Folder of a model: the folder itself, or that of an unpacked bundle.

    Args:
      work_dir: Folder of a run or an ensemble, or path of a bundle.

    Raises:
      InputError: If it is a file and no bundle, a damaged one, or one with another hash than is
        asked for.
    """
    return open_bundle(work_dir).folder if is_bundle(work_dir) else Path(work_dir)


def is_bundle(work_dir: str | Path) -> bool:
    """Whether a path is meant as a bundle, and no folder: a file, or a name that ends with .zip."""
    path, pin = _split(work_dir)
    return bool(pin) or path.is_file() or (path.suffix == _END and not path.is_dir())


def is_bundle_of_weights(weights: str) -> bool:
    """Whether `--weights` names a bundle, and no weights file: by its name or its first bytes."""
    path, pin = _split(weights)
    if pin or path.suffix == _END:
        return not path.is_dir()
    try:
        with open(path, "rb") as file:
            return starts_as_bundle(file.read(START_BYTES))
    except OSError:
        return False


def results_folder(work_dir: str | Path) -> Path:
    """Folder that results are written to by default: the work dir, or one beside a bundle.

    Examples:
      >>> str(results_folder("models/ct.zip"))
      'models/ct_results'
    """
    path = _split(work_dir)[0]
    return path.with_name(f"{path.stem}{_RESULTS}") if is_bundle(work_dir) else Path(work_dir)


def refuse_bundle(work_dir: str | Path, reason: str) -> None:
    """Refuses a bundle where a folder is needed.

    Args:
      work_dir: What was given.
      reason: Why, as the rest of a sentence about the bundle.

    Raises:
      InputError: If it is a bundle.
    """
    if is_bundle(work_dir) and _split(work_dir)[0].exists():
        raise InputError(
            f"{work_dir}: is a bundle, {reason}. Unpack it by python -m ich_tf.bundle "
            f"--work_dir={work_dir} --unpack_dir=FOLDER, and give --work_dir=FOLDER."
        )


def shown(text: str | Path) -> str:
    """A path or message with bundles in it under the names that they were given by."""
    text = str(text)
    for bundle in list(_BY_HASH.values()):
        text = text.replace(str(bundle.folder), str(bundle.path))
    return text


@contextmanager
def naming() -> Iterator[None]:
    """Context in which messages name bundles as they were given, and not their private folders."""
    try:
        yield
    except InputError as error:
        text = shown(str(error))
        if text == str(error) or type(error) not in (InputError, DataError):
            raise
        raise type(error)(text) from error


def open_bundle(work_dir: str | Path) -> Bundle:
    """Unpacks a bundle, unless this process has done so before.

    Raises:
      InputError: If it is no bundle, damaged, too large for the disk, or has another hash than is
        asked for.
    """
    path, pin = _split(work_dir)
    try:
        with _LOCK, open(path, "rb", opener=only_regular) as file:
            bundle = _opened(path, file)
    except OSError as error:
        raise InputError(f"{path}: no bundle can be read there ({error.strerror}).") from error
    except (BadBundle, NotRegularError) as error:
        text = printable(f"{path}: {str(error)[:_LONGEST]}")
        raise InputError(f"{text}. {_ADVICE}") from error
    if pin and bundle.sha256 != pin:
        raise InputError(
            f"{path}: has the SHA-256 {bundle.sha256}; {pin} is asked for. It is another model, or "
            "damaged: copy the one that was approved, or give its hash."
        )
    return bundle


def _split(work_dir: str | Path) -> tuple[Path, str]:
    """The path of a work dir or bundle, and the hash that it must have; empty for any."""
    path, mark, pin = str(work_dir).partition(_PIN)
    if mark and not re.fullmatch(r"[0-9a-fA-F]{64}", pin):
        raise InputError(
            f"{work_dir}: what follows {_PIN} must be 64 hexadecimal digits, the SHA-256 that "
            "python -m ich_tf.bundle printed."
        )
    return Path(path), pin.lower()


def _opened(path: Path, file: BinaryIO) -> Bundle:
    status = os.fstat(file.fileno())
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if key not in _BY_STATUS:
        bundle = _unpack(path, file)
        known = _BY_HASH.setdefault(bundle.sha256, bundle)
        if known is not bundle:
            remove_private_folder(bundle.folder)
        _BY_STATUS[key] = known
        if not is_temporary(path):
            _LOG.info("%s: bundle of ich_tf %s, SHA-256 %s", path, known.ich_tf, known.sha256)
    # Messages name it as it was given last.
    bundle = dataclasses.replace(_BY_STATUS[key], path=path)
    _BY_HASH[bundle.sha256] = bundle
    return bundle


def _unpack(path: Path, file: BinaryIO) -> Bundle:
    entries = open_archive(file)
    size = sum(entry.size for entry in entries)
    folder = make_private_folder()
    try:
        free = shutil.disk_usage(folder).free
        if free < size + _MARGIN:
            raise InputError(
                f"{path}: takes {-(-size // _MIB)} MiB unpacked, and {folder.parent.parent} has "
                f"{free // _MIB} MiB free. Free some space, or set TMPDIR to another folder."
            )
        with writing(folder, OSError):
            sha256, version = unpack_archive(file, entries, folder)
        check_places(folder, {entry.name for entry in entries})
    except BaseException:
        remove_private_folder(folder)
        raise
    return Bundle(path, folder, sha256, version, tuple(entries))
