"""Config of an evaluation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

from ich_tf.inference.config import model_option, precision_option
from ich_tf.runtime.options import check_options, option, require


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Options of an evaluation: each is a flag of ich_tf.evaluate, with its help.

    Raises:
      ConfigError: If an option is out of range.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "data_dir": "Data and model",
        "calibrated": "Scores",
        "masks_dir": "Report and groups",
        "batch_size": "Speed",
    }

    data_dir: str = option(
        "data/tfrecords", "Folder of records, written by ich_tf.make_tfrecords.", is_path=True
    )
    work_dir: str = model_option()
    split: str = option("test", "Split to evaluate: test, or fold-0, fold-1, ...")
    out_dir: str = option(
        "",
        "Folder for the results. Empty: evaluation/<split> in --work_dir; of a bundle NAME.zip, in "
        "NAME_results beside it.",
        is_path=True,
    )
    calibrated: bool = option(True, "Apply the calibration.json of --work_dir, if there is one.")
    bootstrap: int = option(
        1000,
        "Number of bootstrap resamples of the patients for 95 % intervals; 0 for no intervals.",
        within="[0, inf)",
    )
    prevalence: float = option(
        0.0,
        "Share of slices, series or patients with a bleed that predictive values are computed for; "
        "0 for the share among the evaluated patients.",
        within="[0, 1)",
    )
    masks_dir: str = option(
        "",
        "Folder of masks, as make_phantoms --masks writes them (<image id>.png, bit k = class k): "
        "measures heat maps, and scores slices by the area of the bleed. Empty: neither.",
        is_path=True,
    )
    groups_csv: str = option(
        "",
        "CSV with a key (patient, series or image) and columns of groups, such as sex, age group "
        "or site: scores each group of each column. Empty: none.",
        is_path=True,
    )
    hash_key_file: str = option(
        "",
        "File with the secret of the conversion, if it had one and --groups_csv holds ids of the "
        "DICOM files.",
        is_path=True,
    )
    report: bool = option(True, "Write report.html and model_card.md.")
    batch_size: int = option(64, "Slices in a batch.", within="[1, inf)")
    mixed_precision: str = precision_option()

    def __post_init__(self) -> None:
        check_options(self)
        is_known = self.split == "test" or self.split.removeprefix("fold-").isdigit()
        require(is_known, "split", self.split, "test, or fold-0, fold-1, ...")

    @property
    def results_dir(self) -> Path:
        """Folder of the results."""
        from ich_tf.models.bundle import results_folder

        return Path(self.out_dir or results_folder(self.work_dir) / "evaluation" / self.split)
