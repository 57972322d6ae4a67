"""Studies of the server's own: folders of DICOM files that the page offers to try."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ich_tf.dicom.sources import list_sources
from ich_tf.errors import InputError

_DESCRIPTION = "description.txt"


@dataclass(frozen=True)
class SampleStudy:
    """A folder of DICOM files.

    Attributes:
      name: Of the folder.
      description: What stands in its description.txt.
      files: The others.
    """

    name: str
    description: str
    files: list[Path]


def find_samples(samples_dir: str) -> dict[str, SampleStudy]:
    """The samples of a folder by name; none of an empty path.

    Raises:
      InputError: If there is no such folder, or a sample holds no files.
    """
    if not samples_dir:
        return {}
    folder = Path(samples_dir)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Expected folders of DICOM files in it.")
    found = {}
    for path in sorted(one for one in folder.iterdir() if one.is_dir()):
        about = path / _DESCRIPTION
        files = [one.root / one.name for one in list_sources(path) if one.name != _DESCRIPTION]
        text = about.read_text("utf-8").strip() if about.is_file() else ""
        found[path.name] = SampleStudy(path.name, text, files)
    return found
