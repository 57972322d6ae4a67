"""Listing of the inputs at a path: the files to open, and what is not opened with the reason."""

from __future__ import annotations

import bisect
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ich_tf.dicom.archives import START_BYTES, ZIP, archive_kind, is_dicom
from ich_tf.dicom.nifti_names import is_nifti
from ich_tf.dicom.reasons import DicomError, Rejection, special_file
from ich_tf.dicom.sources import Source
from ich_tf.dicom.walk import walk
from ich_tf.dicom.zip_directory import BadArchive, is_zip, list_members
from ich_tf.errors import InputError
from ich_tf.runtime.clutter import is_clutter
from ich_tf.runtime.names import printable


@dataclass(frozen=True)
class SourceListing:
    """The inputs at a path.

    Attributes:
      root: Path of the folder or zip archive that holds them.
      sources: Files, sorted by name.
      rejections: Files that are not opened, and folders that cannot be listed, sorted by path.
      folder: Folder of an archive to which the path led; empty for the whole root.
    """

    root: Path
    sources: list[Source]
    rejections: list[Rejection]
    folder: str = ""

    def __len__(self) -> int:
        """Number of inputs, usable or not."""
        return len(self.sources) + len(self.rejections)

    def within(self, name: str) -> str:
        """Path of a file, or its text, from the folder that was given."""
        return name.removeprefix(f"{self.folder}/") if self.folder else name

    def find(self, name: str) -> Source:
        """The file of a name, as it was listed; one that was not listed has no stamp yet."""
        at = bisect.bisect_left(self.sources, name, key=lambda source: source.name)
        if at < len(self.sources) and self.sources[at].name == name:
            return self.sources[at]
        return Source(self.root, name)


def named_sources(root: Path) -> SourceListing:
    """Sources for whoever has their names already: a folder is not walked for them.

    Args:
      root: Folder or zip archive of the files, which `SourceListing.find` finds.

    Raises:
      InputError: If it is an archive that cannot be read.
    """
    return SourceListing(root, [], []) if root.is_dir() else _list_archive(root, "")


def list_sources(path: str | Path, leave_out: Sequence[Path] = ()) -> SourceListing:
    """Lists the inputs at a path.

    Clutter (`runtime.clutter`) is left out. Every other file is listed, whatever its extension:
    DICOM files often have none. Those of NIfTI
    files tell them apart (`nifti_names`). In a folder links are followed (`walk.walk`).

    Args:
      path: A folder, nested or not; a zip archive; `archive.zip/folder` for a folder in an
        archive; one file; or a text list (`.txt`) of one path per line, relative to the list's
        folder. Empty lines and lines that begin with # are skipped.
      leave_out: Files and folders that are no inputs, such as the output of a run.

    Raises:
      InputError: If there is no such path, no file in it that can be opened, or it is an archive
        that cannot be read.
    """
    path, folder = _in_archive(Path(path))
    if path.is_dir():
        listing = _list_folder(path, leave_out)
    elif not path.is_file():
        what = special_file() if os.path.lexists(path) else "no such file or folder."
        raise InputError(
            f"{path}: {what} Expected a folder of DICOM files, a zip archive of "
            "them or a folder in one, one DICOM file, or a text file with a path a line."
        )
    elif not is_nifti(path.name) and _is_zip(path):
        listing = _list_archive(path, folder)
    elif path.suffix.lower() == ".txt" and not is_dicom(_start(path)):
        root, names = _read_list(path)
        sources = [Source(root, name) for name in sorted(set(names)) if not is_clutter(name)]
        listing = SourceListing(root, sources, [])
    else:
        listing = SourceListing(path.parent, [Source(path.parent, path.name)], [])
    if listing.sources:
        return listing
    where = path / folder if folder else path
    if listing.rejections:
        first = listing.rejections[0]
        raise InputError(
            f"{where}: holds no file that can be opened; the first of {len(listing)}, "
            f"{first.path}, {first.message}"
        )
    raise InputError(f"{where}: holds no files. Expected DICOM files.")


def _list_folder(root: Path, leave_out: Sequence[Path]) -> SourceListing:
    sources: list[Source] = []
    rejections: list[Rejection] = []
    try:
        for file in walk(root, leave_out):
            if file.error is None:
                sources.append(Source(root, file.name, file.stamp))
            else:
                rejections.append(_rejection(file.name, file.error))
    except OSError as error:
        raise InputError(
            f"{root}: cannot be listed ({error.strerror}). Expected a folder that may be read."
        ) from error
    return _sorted(root, sources, rejections)


def _list_archive(path: Path, folder: str) -> SourceListing:
    """Lists an archive, or a folder in it, or a single member."""
    try:
        with open(path, "rb") as file:
            members = list_members(file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except BadArchive as error:
        raise InputError(f"{path}: {error} Expected a whole zip archive.") from error
    sources: list[Source] = []
    rejections: list[Rejection] = []
    for name, place in members:
        if folder and not f"{name}/".startswith(f"{folder}/"):
            continue
        if isinstance(place, DicomError):
            rejections.append(_rejection(name, place))
        else:
            sources.append(Source(path, name, place=place))
    return replace(_sorted(path, sources, rejections), folder=folder)


def _sorted(root: Path, sources: list[Source], rejections: list[Rejection]) -> SourceListing:
    sources.sort(key=lambda source: source.name)
    rejections.sort(key=lambda rejection: rejection.path)
    return SourceListing(root, sources, rejections)


def _rejection(name: str, error: DicomError) -> Rejection:
    return Rejection(name, "index", error.reason.value, str(error))


def _in_archive(path: Path) -> tuple[Path, str]:
    """Splits `archive.zip/folder` into the archive and `folder`; any other path has no folder."""
    for parent in path.parents:
        if parent.is_file():
            if not path.exists() and _is_zip(parent):
                return parent, path.relative_to(parent).as_posix().replace("\\", "/")
            break
    return path, ""


def _is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, whole or cut.

    Raises:
      InputError: If it is another archive.
    """
    start = _start(path)
    kind = archive_kind(start)
    if kind and kind != ZIP:
        raise InputError(
            f"{path}: is a {kind}. Expected a folder, a zip archive or a DICOM file: unpack it "
            "first."
        )
    with open(path, "rb") as file:
        # Of an archive of that name the start may be missing.
        return is_zip(file) or (path.suffix.lower() == ".zip" and not is_dicom(start))


def _start(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(START_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error


def _read_list(path: Path) -> tuple[Path, list[str]]:
    """The common folder of the files in a text list, and their paths within it."""
    text = path.read_text("utf-8-sig", errors="surrogateescape")
    # Not splitlines: a name may hold what Unicode calls the end of a line.
    listed = [
        line.strip() for line in text.split("\n") if line.strip() and not line.startswith("#")
    ]
    for line in listed:
        if "\0" in line:
            raise InputError(f"{path}: neither a DICOM file nor a text file.")
    files = [Path(os.path.normpath((path.parent / line).absolute())) for line in listed]
    for line, file in zip(listed, files, strict=True):
        if not file.is_file():
            raise InputError(
                f"{path}: lists {printable(line)!r}, which is no file. Expected a DICOM file's "
                "path a line."
            )
    if not files:
        raise InputError(f"{path}: lists no files. Expected a DICOM file's path a line.")
    root = Path(os.path.commonpath([file.parent for file in files]))
    return root, [file.relative_to(root).as_posix() for file in files]
