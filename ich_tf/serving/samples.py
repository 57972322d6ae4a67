"""Sample studies: folders of DICOM files that the page offers to try."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ich_tf.dicom.listing import list_sources
from ich_tf.errors import InputError

_DESCRIPTION = "description.txt"


@dataclass(frozen=True)
class SampleStudy:
    """A folder of DICOM files.

    Attributes:
      name: Name of the folder.
      description: Text of its description.txt; empty if there is none.
      files: Paths of its other files.
    """

    name: str
    description: str
    files: list[Path]


def find_samples(samples_dir: str) -> dict[str, SampleStudy]:
    """Lists the sample studies of a folder.

    Args:
      samples_dir: Folder whose folders are sample studies; empty for no samples.

    Returns:
      Name -> sample study.

    Raises:
      InputError: If there is no such folder, or a sample holds no files.
    """
    if not samples_dir:
        return {}
    folder = Path(samples_dir)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Expected a folder of folders of DICOM files.")
    samples = {}
    for path in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        description = path / _DESCRIPTION
        text = description.read_text("utf-8").strip() if description.is_file() else ""
        files = [
            source.root / source.name
            for source in list_sources(path).sources
            if source.name != _DESCRIPTION
        ]
        samples[path.name] = SampleStudy(path.name, text, files)
    return samples
