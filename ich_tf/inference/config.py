"""Configs of calibration, feature extraction, export and prediction."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ich_tf.labels import CLASSES
from ich_tf.runtime.options import check_options, option, require

if TYPE_CHECKING:
    from ich_tf.inference.postprocessing.abstention import AbstentionTarget

PRECISIONS = ("auto", "float32", "float16", "bfloat16")
MASK_FORMATS = ("none", "png", "nifti", "dicom_seg")
CALIBRATIONS = ("none", "temperature", "platt", "isotonic")


def model_option() -> Any:
    """The option `work_dir` of the commands that use a model as it is."""
    return option(
        "runs/resnet50",
        "Folder of the trained model, or a bundle of it (model.zip, as ich_tf.bundle writes); "
        "model.zip#sha256=DIGITS takes the bundle with this SHA-256 alone.",
        is_path=True,
    )


def precision_option() -> Any:
    """The option `mixed_precision` of the commands that predict."""
    return option(
        "auto",
        "Type of the networks' arithmetic. auto: half precision on GPUs that have it, float32 on "
        "CPUs.",
        PRECISIONS,
    )


@dataclasses.dataclass(frozen=True)
class CalibrateConfig:
    """Settings of `ich_tf.calibrate`; the help of each field is its documentation.

    Raises:
      ConfigError: If a field is out of range.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "data_dir": "Data and models",
        "flip": "Postprocessing",
        "abstain_miss_rate": "Abstention",
        "batch_size": "Speed",
    }

    data_dir: str = option(
        "data/tfrecords",
        "Folder of the TFRecords that the models trained on; with --few, of a site's labelled "
        "series.",
        is_path=True,
    )
    work_dir: str = option(
        "runs/resnet50",
        "Folder for calibration.json: the folder of a run, or of the runs of "
        "--validation_fold=all. With --members a new folder, which names the ensemble.",
        is_path=True,
    )
    members: tuple[str, ...] = option(
        (),
        "Folders of runs to average, with shares fitted on validation patients. Empty: --work_dir.",
        is_path=True,
    )
    few: bool = option(
        False,
        "Adapt the calibration of --work_dir to another site from tens of labelled series: a slope "
        "and a shift for each class, kept near the calibration that is there. The folds of "
        "--data_dir are read; its test split is left for evaluate.",
    )
    average_epochs: int = option(
        0,
        "Number of last epochs of each run to average, with fitted shares (train with "
        "--keep_epochs). 0: the best epoch alone.",
        within="[0, inf)",
    )
    flip: bool = option(
        False, "Average each slice's logits with its mirror image's: twice the time."
    )
    smoothing_mm: float = option(
        -1.0,
        "Standard deviation of the Gaussian along the series, mm, up to 100. 0: no smoothing; -1: "
        "the width with the least loss on validation patients.",
    )
    method: str = option(
        "auto",
        "Method that turns logits into probabilities. auto: the one with the least loss on "
        "validation patients that it was not fitted on.",
        ("auto", *CALIBRATIONS),
    )
    abstain_miss_rate: float = option(
        0.0,
        "Largest share of new patients with a bleed that may be decided against, if they are "
        "exchangeable with those it is fitted on: predict then decides exams with yes, no or "
        "abstain, and evaluate counts what came of it. 0: no such decisions.",
        within="[0, 1)",
    )
    abstain_false_alarm_rate: float = option(
        0.0,
        "Largest share of new patients without a bleed that may be decided for. 0: no promise; yes "
        "from Youden's point on.",
        within="[0, 1)",
    )
    abstain_confidence: float = option(
        0.95,
        "Probability that the fitted thresholds hold these shares; it takes 59 patients with a "
        "bleed for a share of 0.05. 0: hold them on average over all patients that could have been "
        "fitted on (conformal risk control), which takes 19.",
        within="[0, 1)",
    )
    batch_size: int = option(64, "Number of slices a batch.", within="[1, inf)")
    mixed_precision: str = precision_option()

    @property
    def abstention_target(self) -> AbstentionTarget | None:
        """What abstention is to promise; None for no abstention."""
        from ich_tf.inference.postprocessing.abstention import AbstentionTarget

        if not self.abstain_miss_rate:
            return None
        return AbstentionTarget(
            self.abstain_miss_rate, self.abstain_false_alarm_rate, self.abstain_confidence
        )

    def __post_init__(self) -> None:
        check_options(self)
        if not self.abstain_miss_rate:
            given = self.abstain_false_alarm_rate
            require(not given, "abstain_false_alarm_rate", given, "0 without --abstain_miss_rate")
        require(bool(self.work_dir), "work_dir", self.work_dir, "not empty")
        require(all(self.members), "members", self.members, "folders with a comma between two")
        known = self.smoothing_mm == -1 or 0 <= self.smoothing_mm <= 100
        require(known, "smoothing_mm", self.smoothing_mm, "-1, or from 0 to 100")
        if self.few:
            # The calibration that is there says how.
            for name in ("members", "average_epochs", "flip", "smoothing_mm", "method"):
                default = self.__dataclass_fields__[name].default
                given = getattr(self, name)
                require(given == default, name, given, f"{default!r} with --few")


@dataclasses.dataclass(frozen=True)
class ExtractConfig:
    """Settings of `ich_tf.extract_features`; the help of each field is its documentation.

    Raises:
      ConfigError: If a field is out of range.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "data_dir": "Data and models",
        "feature_dim": "Features",
        "batch_size": "Speed",
    }

    data_dir: str = option(
        "data/tfrecords", "Folder of the TFRecords that the slice models trained on.", is_path=True
    )
    work_dir: str = option(
        "runs/resnet50_folds",
        "Folder of the runs of ich_tf.train --validation_fold=all on these data; or of one run on "
        "other data, of none of these patients.",
        is_path=True,
    )
    out_dir: str = option("data/features", "Folder for the records of series.", is_path=True)
    feature_dim: int = option(
        64,
        "Number of features a slice: principal components of the networks' features.",
        within="[1, inf)",
    )
    num_aligned: int = option(
        2000,
        "Number of slices on which each network's features are aligned to the first network's "
        "axes, at least ten times --feature_dim.",
    )
    batch_size: int = option(64, "Number of slices a batch.", within="[1, inf)")
    mixed_precision: str = precision_option()

    def __post_init__(self) -> None:
        check_options(self)
        require(
            self.num_aligned >= 10 * self.feature_dim,
            "num_aligned",
            self.num_aligned,
            f"ten times feature_dim, which is {self.feature_dim}, or more",
        )


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Settings of `ich_tf.export`; the help of each field is its documentation.

    Raises:
      ConfigError: If a field is out of range.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "work_dir": "Model",
        "out_dir": "Export",
    }

    work_dir: str = model_option()
    out_dir: str = option(
        "",
        "Folder for <version>/ and manifest.json. Empty: the folder export in --work_dir; of a "
        "bundle NAME.zip, in NAME_results beside it.",
        is_path=True,
    )
    format: str = option(
        "saved_model",
        "Format of the export. saved_model: for TensorFlow Serving and TensorFlow; onnx: "
        "model.onnx, for ONNX Runtime and others (needs the extra onnx); both: both, in one "
        "folder. safetensors: the weights alone by name, for train --weights and other frameworks.",
        ("saved_model", "onnx", "both", "safetensors"),
    )
    version: int = option(
        1, "Version number of the model for TensorFlow Serving.", within="[1, inf)"
    )
    calibrated: bool = option(True, "Apply the calibration.json of --work_dir, if there is one.")
    prevalence: float = option(
        0.0,
        "Share of slices with a bleed where the model will be used: probabilities are moved to it. "
        "0: as in the validation patients.",
        within="[0, 1)",
    )
    overwrite: bool = option(False, "Replace the version if it exists.")

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def export_dir(self) -> Path:
        """Folder of the versions."""
        from ich_tf.models.bundle import results_folder

        return Path(self.out_dir or results_folder(self.work_dir) / "export")


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Settings of `ich_tf.predict`; the help of each field is its documentation.

    Raises:
      ConfigError: If a field is out of range.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "dicom_dir": "Files and model",
        "calibrated": "Probabilities",
        "heatmaps": "Heat maps and masks",
        "batch_size": "Speed",
    }

    dicom_dir: str = option(
        "data/phantoms/stage_2_test",
        "Folder (nested, any extension) or zip archive of DICOM files, one file, or a text file "
        "(.txt) with a path a line.",
        is_path=True,
    )
    work_dir: str = model_option()
    series: str = option(
        "best",
        "Series to predict. best: one a study, the plain axial one with a soft kernel and slices "
        "near 5 mm, and with a sample submission every series; all: every series; or conditions "
        "such as kernel=soft,thickness<=6,contrast!=yes, all of which a series must fulfil.",
    )
    out_csv: str = option(
        "",
        "Path of the submission. Empty: submission.csv in --work_dir; of a bundle NAME.zip, in "
        "NAME_results beside it. <name>_series.csv, <name>_series.json, <name>_rejected.csv, "
        "<name>_heatmaps/ and <name>_masks/ are written beside it.",
        is_path=True,
    )
    sample_csv: str = option(
        "",
        "Sample submission whose ids and order to follow. Empty: stage_2_sample_submission.csv "
        "beside --dicom_dir if there is one, else the order of the files' names.",
        is_path=True,
    )
    calibrated: bool = option(True, "Apply the calibration.json of --work_dir, if there is one.")
    prevalence: float = option(
        0.0,
        "Share of slices with a bleed where these files come from: probabilities are moved to it. "
        "0: as in the validation patients.",
        within="[0, 1)",
    )
    heatmaps: tuple[str, ...] = option(
        (), "Classes to draw heat maps of, for the slices at or above the operating point."
    )
    max_heatmaps: int = option(
        100,
        "Maximum number of heat maps per class, highest probability first.",
        within="[1, inf)",
    )
    masks: str = option(
        "none",
        "Format of the masks of a model with masks, written to <name>_masks/. png: a file a slice, "
        "bit k for class k; nifti: a file a class and series; dicom_seg: a file a series (the last "
        "two need the extra masks).",
        MASK_FORMATS,
    )
    dicom_results: str = option(
        "",
        "Folder for DICOM objects that archives file in the studies of the images: reports, key "
        "objects, captures and segmentations (needs the extra gateway, web or masks). Those of an "
        "earlier run in it are removed. Empty: none.",
        is_path=True,
    )
    batch_size: int = option(32, "Number of slices a batch.", within="[1, inf)")
    mixed_precision: str = precision_option()
    num_workers: int = option(
        0, "Number of processes that read DICOM files. 0: one per core.", within="[0, 1024]"
    )

    def __post_init__(self) -> None:
        check_options(self)
        from ich_tf.dicom.choice import SeriesChoice  # --help answers without pydicom

        SeriesChoice.parse(self.series)
        for name in self.heatmaps:
            require(name in CLASSES, "heatmaps", name, f"of {', '.join(CLASSES)}")
        require(bool(self.dicom_dir), "dicom_dir", self.dicom_dir, "a folder, archive or file")

    @property
    def submission_path(self) -> Path:
        """Path of the submission."""
        from ich_tf.models.bundle import results_folder

        return Path(self.out_csv or results_folder(self.work_dir) / "submission.csv")

    @property
    def sample_path(self) -> Path | None:
        """Path of the sample submission: the one given, or the one beside `dicom_dir`, or None."""
        if self.sample_csv:
            return Path(self.sample_csv)
        beside = Path(self.dicom_dir).resolve().parent / "stage_2_sample_submission.csv"
        return beside if beside.is_file() else None
