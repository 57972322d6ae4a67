"""Config of `ich_tf.bundle`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

from ich_tf.inference.config import model_option
from ich_tf.runtime.options import check_options, option, require


@dataclasses.dataclass(frozen=True)
class BundleConfig:
    """Settings of `ich_tf.bundle`; the help of each field is its documentation.

    Raises:
      ConfigError: If a field is out of range, or two contradict each other.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "work_dir": "Model",
        "out_file": "Bundle",
        "check": "Reading a bundle",
    }

    work_dir: str = model_option()
    out_file: str = option(
        "", "Path of the bundle. Empty: the name of --work_dir with .zip, beside it.", is_path=True
    )
    card_file: str = option(
        "",
        "Markdown page that describes the model, for people. Empty: card.md of --work_dir, or its "
        "evaluation/test/model_card.md if that is of these weights, or none.",
        is_path=True,
    )
    patient_hashes: bool = option(
        False,
        "Keep the hashes of the patients that the model was trained on, by which evaluate, train "
        "and calibrate --few refuse to use them again on other data. Whoever knows a patient's "
        "stored id can tell by them whether he is among these.",
    )
    overwrite: bool = option(False, "Replace another bundle at --out_file.")
    check: bool = option(
        False,
        "Write nothing: check the bundle in --work_dir, load its model, and print what it holds.",
    )
    unpack_dir: str = option(
        "",
        "Write no bundle: unpack that in --work_dir into this new folder, a work dir. Empty: do "
        "not.",
        is_path=True,
    )

    def __post_init__(self) -> None:
        check_options(self)
        require(bool(self.work_dir), "work_dir", self.work_dir, "not empty")
        if self.check or self.unpack_dir:
            by = "--check" if self.check else "--unpack_dir"
            for name in ("out_file", "card_file", "patient_hashes", "overwrite"):
                default = self.__dataclass_fields__[name].default
                given = getattr(self, name)
                require(given == default, name, given, f"{default!r} with {by}")
            both = self.check and bool(self.unpack_dir)
            require(not both, "unpack_dir", self.unpack_dir, "empty with --check")

    @property
    def bundle_path(self) -> Path:
        """Path of the bundle to write."""
        folder = Path(self.work_dir).resolve()
        return Path(self.out_file) if self.out_file else folder.with_name(f"{folder.name}.zip")
