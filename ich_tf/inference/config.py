"""Configs of calibration, feature extraction, export and prediction."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

from ich_tf.labels import CLASSES
from ich_tf.runtime.options import option, require

CALIBRATIONS = ("none", "temperature", "platt", "isotonic")


@dataclasses.dataclass(frozen=True)
class CalibrateConfig:
    """A calibration. Each field's meaning stands in its `help`.

    Raises:
      ConfigError: If a field is out of range.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "data_dir": "Data and models",
        "flip": "What follows the logits",
        "batch_size": "Speed",
    }

    data_dir: str = option("data/tfrecords", "The folder that the models were trained on.")
    work_dir: str = option(
        "runs/resnet50",
        "Where calibration.json goes: the folder of a run, or of the runs that "
        "--validation_fold=all made; with --members a new folder, which then stands for all.",
    )
    members: tuple[str, ...] = option(
        (),
        "Folders of runs to average, with shares fitted on validation patients. Empty: --work_dir.",
    )
    average_epochs: int = option(
        0,
        "Of each run, average the last so many epochs, with fitted shares, instead of taking the "
        "best (train with --keep_epochs).",
    )
    flip: bool = option(
        False, "Predict each slice and its mirror image, and take the mean: twice the time."
    )
    smoothing_mm: float = option(
        -1.0,
        "Standard deviation of the Gaussian along the series, mm; 0 smooths nothing, -1 chooses "
        "the width with the least loss.",
    )
    method: str = option(
        "auto",
        "How logits become probabilities; auto takes the one with the least loss on validation "
        "patients that it was not fitted on.",
        ("auto", *CALIBRATIONS),
    )
    batch_size: int = option(64, "Slices a step.")

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(self.members))
        require(bool(self.work_dir), "work_dir", self.work_dir, "not empty")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        require(self.average_epochs >= 0, "average_epochs", self.average_epochs, "0 or more")
        known = self.smoothing_mm == -1 or 0 <= self.smoothing_mm <= 100
        require(known, "smoothing_mm", self.smoothing_mm, "-1, or from 0 to 100")


@dataclasses.dataclass(frozen=True)
class ExtractConfig:
    """An extraction of features. Each field's meaning stands in its `help`.

    Raises:
      ConfigError: If a field is out of range.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "data_dir": "Data and models",
        "feature_dim": "Features",
        "batch_size": "Speed",
    }

    data_dir: str = option("data/tfrecords", "The folder that the slice models were trained on.")
    work_dir: str = option(
        "runs/resnet50_folds", "The folder of runs that ich_tf.train --validation_fold=all made."
    )
    out_dir: str = option("data/features", "Folder for the records of series.")
    feature_dim: int = option(
        64, "Numbers a slice: so many principal components of the networks' features."
    )
    num_aligned: int = option(
        2000, "Slices on which each network's features are brought into the first one's axes."
    )
    batch_size: int = option(64, "Slices a step.")

    def __post_init__(self) -> None:
        for name in ("feature_dim", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(
            self.num_aligned >= 10 * self.feature_dim,
            "num_aligned",
            self.num_aligned,
            f"ten times feature_dim, which is {self.feature_dim}, or more",
        )


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """An export. Each field's meaning stands in its `help`.

    Raises:
      ConfigError: If a field is out of range.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "work_dir": "Model",
        "out_dir": "Export",
    }

    work_dir: str = option("runs/resnet50", "The folder of the trained model.")
    out_dir: str = option(
        "", "Folder to write <version>/ and manifest.json into. Empty: export in --work_dir."
    )
    version: int = option(1, "Of the model, as TensorFlow Serving counts; 1 or more.")
    calibrated: bool = option(True, "Apply the calibration.json of --work_dir, if there is one.")
    prevalence: float = option(
        0.0, "As of ich_tf.predict: share of slices with a bleed where the model will be used."
    )
    overwrite: bool = option(False, "Replace that version, if it is there already.")

    def __post_init__(self) -> None:
        require(self.version >= 1, "version", self.version, "1 or more")
        require(0 <= self.prevalence < 1, "prevalence", self.prevalence, "in [0, 1)")

    @property
    def export_dir(self) -> Path:
        """Where the versions go."""
        return Path(self.out_dir or Path(self.work_dir) / "export")


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """A prediction. Each field's meaning stands in its `help`.

    Raises:
      ConfigError: If a field is out of range.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "dicom_dir": "Files and model",
        "calibrated": "Probabilities",
        "heatmaps": "Heat maps",
        "batch_size": "Speed",
    }

    dicom_dir: str = option(
        "data/phantoms/stage_2_test",
        "Folder (nested, any extension) or zip archive of DICOM files, one file, or a text file "
        "(.txt) with a path a line.",
    )
    work_dir: str = option("runs/resnet50", "The folder of the trained model.")
    out_csv: str = option(
        "",
        "The submission to write. Empty: submission.csv in --work_dir. Beside it go "
        "<name>_series.csv, <name>_series.json, <name>_rejected.csv and <name>_heatmaps/.",
    )
    sample_csv: str = option(
        "",
        "Sample submission whose ids and order to follow. Empty: stage_2_sample_submission.csv "
        "beside --dicom_dir if there is one, else the order of the files' names.",
    )
    calibrated: bool = option(True, "Apply the calibration.json of --work_dir, if there is one.")
    prevalence: float = option(
        0.0,
        "Share of slices with a bleed where these files come from, in [0, 1): probabilities are "
        "moved to it. 0: as in the validation patients.",
    )
    heatmaps: tuple[str, ...] = option(
        (), "Classes to draw heat maps of: of the slices at or above the operating point."
    )
    max_heatmaps: int = option(100, "Of a class, draw at most the likeliest so many.")
    batch_size: int = option(32, "Slices a step.")
    num_workers: int = option(0, "Processes that read DICOM files; 0 means one per core.")

    def __post_init__(self) -> None:
        object.__setattr__(self, "heatmaps", tuple(self.heatmaps))
        for name in self.heatmaps:
            require(name in CLASSES, "heatmaps", name, f"of {', '.join(CLASSES)}")
        require(self.max_heatmaps >= 1, "max_heatmaps", self.max_heatmaps, "1 or more")
        require(0 <= self.prevalence < 1, "prevalence", self.prevalence, "in [0, 1)")
        require(bool(self.dicom_dir), "dicom_dir", self.dicom_dir, "a folder, archive or file")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        require(self.num_workers >= 0, "num_workers", self.num_workers, "0 or more")

    @property
    def submission_path(self) -> Path:
        """Where the submission goes."""
        return Path(self.out_csv or Path(self.work_dir) / "submission.csv")

    @property
    def sample_path(self) -> Path | None:
        """The sample submission, given or found."""
        if self.sample_csv:
            return Path(self.sample_csv)
        beside = Path(self.dicom_dir).resolve().parent / "stage_2_sample_submission.csv"
        return beside if beside.is_file() else None
