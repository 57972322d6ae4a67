"""Config of an evaluation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

from ich_tf.runtime.options import option, require


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """An evaluation. Each field's meaning stands in its `help`.

    Raises:
      ConfigError: If a field is out of range.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "data_dir": "Data and model",
        "calibrated": "Scores",
        "masks_dir": "Report",
        "batch_size": "Speed",
    }

    data_dir: str = option("data/tfrecords", "The folder that ich_tf.make_tfrecords wrote.")
    work_dir: str = option("runs/resnet50", "The folder of the trained model.")
    split: str = option("test", "test, or fold-0, fold-1, ...")
    out_dir: str = option("", "Folder for the results. Empty: evaluation/<split> in --work_dir.")
    calibrated: bool = option(True, "Apply the calibration.json of --work_dir, if there is one.")
    bootstrap: int = option(
        1000, "Resamples of the patients for 95 % intervals; 0 gives no intervals."
    )
    prevalence: float = option(
        0.0,
        "Share of slices, series or patients with a bleed that predictive values are for, in "
        "[0, 1). 0: that of the evaluated patients.",
    )
    masks_dir: str = option(
        "",
        "Folder of masks (<image id>.png, bit k = class k, as of make_phantoms --masks): measures "
        "heat maps, and scores by the area of the bleed.",
    )
    report: bool = option(True, "Write report.html and model_card.md.")
    batch_size: int = option(64, "Slices a step.")

    def __post_init__(self) -> None:
        require(self.bootstrap >= 0, "bootstrap", self.bootstrap, "0 or more")
        require(0 <= self.prevalence < 1, "prevalence", self.prevalence, "in [0, 1)")
        known = self.split == "test" or self.split.removeprefix("fold-").isdigit()
        require(known, "split", self.split, "test, or fold-0, fold-1, ...")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")

    @property
    def results_dir(self) -> Path:
        """Where the results go."""
        return Path(self.out_dir or Path(self.work_dir) / "evaluation" / self.split)
