"""Config of `ich_tf.attach`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

from ich_tf.runtime.options import check_options, option, require


@dataclasses.dataclass(frozen=True)
class AttachConfig:
    """Settings of `ich_tf.attach`; the help of each field is its documentation.

    Raises:
      ConfigError: If a field is out of range.
    """

    HEADINGS: ClassVar[dict[str, str]] = {"results": "Files"}

    results: str = option(
        "results",
        "A DICOM file that was downloaded from the web page, or a folder of such files (.dcm).",
        is_path=True,
    )
    dicom_dir: str = option(
        "study",
        "The DICOM files that were sent to the page: a folder (nested, any extension), a zip "
        "archive, or one file.",
        is_path=True,
    )
    out_dir: str = option(
        "",
        "Folder for the attached files. Empty: the folder attached beside --results, or in it if "
        "it is a folder.",
        is_path=True,
    )

    def __post_init__(self) -> None:
        check_options(self)
        require(bool(self.results), "results", self.results, "a file or a folder")
        require(bool(self.dicom_dir), "dicom_dir", self.dicom_dir, "a folder, archive or file")

    @property
    def attached_dir(self) -> Path:
        """Folder of the attached files."""
        results = Path(self.results)
        beside = results if results.is_dir() else results.parent
        return Path(self.out_dir) if self.out_dir else beside / "attached"
