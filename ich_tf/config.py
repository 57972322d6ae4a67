"""What a training run is told: one frozen dataclass, checked as it is made.

The defaults are the ResNet50 recipe. `command.define_flags` makes one flag of each field,
and a run writes its config to `config.json` in its work dir.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, ClassVar

from ich_tf.errors import ConfigError
from ich_tf.labels import CLASSES

BACKBONES = ("resnet50", "efficientnet_b4", "tiny")
# Over the slices of a series, on what ich_tf.extract_features wrote.
SERIES_BACKBONES = ("bigru", "transformer")
OPTIMIZERS = ("adam", "adamw", "sgd", "lamb", "radam")
SCHEDULES = ("constant", "exponential", "cosine")
STRATEGIES = ("one", "mirrored", "multi_worker")
ALL_FOLDS = "all"
PRECISIONS = ("auto", "float32", "float16", "bfloat16")
XLA_CHOICES = ("auto", "on", "off")
CALIBRATIONS = ("none", "temperature", "platt", "isotonic")

# What a run may change when it continues: no part of what it computes. The data are compared by
# their hash, not their place.
FREE_FIELDS = (
    "data_dir",
    "work_dir",
    "overwrite",
    "checkpoint_steps",
    "keep_epochs",
    "self_check",
    "tensorboard",
)


# What only one slice alone has.
_OF_SLICES = ("neighbours", "negative_fraction", "negative_weight", "mixup")
_OF_IMAGES = (
    "sequence",
    *_OF_SLICES,
    "bn_momentum",
    "freeze_bn",
    "flip",
    "shift",
    "rotate",
    "scale",
    "window_jitter",
    "cutout",
)


def _field(default: Any, help_text: str, choices: tuple[str, ...] | None = None) -> Any:
    metadata: dict[str, Any] = {"help": help_text}
    if choices is not None:
        metadata["choices"] = choices
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A training run. Each field's meaning, unit and range stand in its `help`.

    Raises:
      ConfigError: If a field is out of range, or two contradict each other.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "data_dir": "Data and run",
        "backbone": "Network",
        "sequence": "Model over series",
        "batch_size": "Steps and epochs",
        "optimizer": "Optimizer",
        "label_smoothing": "Loss and sampling",
        "flip": "Augmentation",
        "strategy": "Hardware",
        "checkpoint_steps": "What a run keeps and checks",
    }

    data_dir: str = _field("data/tfrecords", "The folder that ich_tf.make_tfrecords wrote.")
    work_dir: str = _field("runs/resnet50", "The folder of this run: checkpoints, logs, config.")
    overwrite: bool = _field(
        False, "Start anew, deleting the run that work_dir holds, instead of continuing it."
    )
    validation_fold: str = _field(
        "0",
        "The fold to validate on, from 0; the run trains on all others. all: each fold in turn, in "
        "work_dir/fold-0, ..., and then oof_predictions.csv, each slice predicted by the model "
        "that did not see its patient.",
    )
    seed: int = _field(
        0, "Of the initial weights, the order of the records, augmentation and dropout."
    )

    backbone: str = _field(
        "resnet50",
        "The network below the classifier; bigru and transformer read the features of a series, "
        "and --data_dir is then what ich_tf.extract_features wrote.",
        (*BACKBONES, *SERIES_BACKBONES),
    )
    weights: str = _field(
        "imagenet",
        "Initial weights: imagenet (downloaded once by Keras), none (random), or the path of a "
        "weights file: keras.applications' without its top, or best.weights.h5 of another run.",
    )
    image_size: int = _field(
        224, "Input height and width of the network, px. The model resizes records of another size."
    )
    neighbours: int = _field(
        1,
        "Slices the network sees at once as channels: 1, or 3 or 5, the slice between those beside "
        "it in its series; at the series' ends the last one again.",
    )
    dropout: float = _field(0.0, "Share of the features dropped before the classifier, in [0, 1).")
    bn_momentum: float = _field(
        0.0,
        "Momentum of the batch normalisation's moving statistics, in [0, 1); 0 keeps the "
        "backbone's own (0.99). Short runs from random weights want about 0.9.",
    )
    freeze_bn: bool = _field(
        False, "Keep batch normalisation as loaded: neither its statistics nor its scale learn."
    )

    sequence: str = _field(
        "none",
        "bigru or transformer: train --backbone and a model over its features of consecutive "
        "slices together, end to end.",
        ("none", *SERIES_BACKBONES),
    )
    slab: int = _field(
        9, "With --sequence: consecutive slices of a training example; odd, 3 or more."
    )
    units: int = _field(64, "Of bigru and transformer: width of each direction, of each layer.")
    layers: int = _field(2, "Of bigru and transformer.")
    series_weight: float = _field(
        0.1, "Of bigru and transformer: weight of a series' own loss beside its slices' mean."
    )
    reverse: bool = _field(
        False,
        "Of bigru and transformer: turn half of the series upside down in training, and take the "
        "mean of both ways in prediction.",
    )

    batch_size: int = _field(
        32,
        "Slices an optimizer step, over all replicas and hosts; series, for bigru and transformer; "
        "slabs, with --sequence.",
    )
    accumulation: int = _field(
        1,
        "Parts of each replica's batch that go through the network one after the other, their "
        "gradients added: a batch then takes the memory of a part.",
    )
    epochs: int = _field(5, "Passes over the training folds.")
    max_steps_per_epoch: int = _field(0, "Ends each epoch after so many steps; 0 uses all records.")
    patience: int = _field(
        0, "Stop after so many epochs without a lower validation loss; 0 never stops early."
    )
    optimizer: str = _field(
        "adam",
        "sgd: Nesterov, momentum 0.9; lamb and radam (rectified Adam) are tensorflow-addons'.",
        OPTIMIZERS,
    )
    lookahead: bool = _field(
        False,
        "Every 6 steps, go back half of the way to the weights of 6 steps before (tensorflow-"
        "addons; not with adamw).",
    )
    learning_rate: float = _field(5e-4, "At the start, or at the warm-up's end.")
    schedule: str = _field(
        "exponential",
        "constant; exponential: times lr_decay after each epoch; cosine: to 0 at the end.",
        SCHEDULES,
    )
    lr_decay: float = _field(0.8, "The exponential schedule's factor an epoch, in (0, 1].")
    warmup_epochs: float = _field(
        0.0, "Epochs, or part of one, over which the rate rises from 0 in a straight line."
    )
    weight_decay: float = _field(
        0.0, "A step, times the rate; kernels only. For adamw, sgd and lamb."
    )
    clip_norm: float = _field(
        0.0, "The gradient's global norm, over all replicas, is cut down to this; 0 never cuts."
    )

    ema_decay: float = _field(
        0.0,
        "Validate and save an exponential moving average of the weights, with this decay a step, "
        "in [0, 1), less in the first steps; 0 takes the weights themselves.",
    )
    label_smoothing: float = _field(
        0.0, "Labels move by half of this towards each other, in [0, 1)."
    )
    negative_fraction: float = _field(
        1.0,
        "Share of the slices without a bleed that an epoch reads, drawn anew each epoch, in "
        "(0, 1]. What this changes in the probabilities is undone in the model.",
    )
    negative_weight: float = _field(
        1.0, "Weight of a slice without a bleed in the loss, in (0, 1]; undone likewise."
    )

    flip: bool = _field(False, "Augmentation: mirror half of the slices left to right.")
    shift: float = _field(
        0.0, "Augmentation: largest shift along each axis, as a share of the side, in [0, 1)."
    )
    rotate: float = _field(0.0, "Augmentation: largest rotation either way, degrees, in [0, 180].")
    scale: float = _field(
        0.0, "Augmentation: largest change of size either way, as a share, in [0, 1)."
    )
    window_jitter: float = _field(
        0.0,
        "Augmentation: largest change of the windows' width, as a share, and of their centre, as a "
        "share of 80 HU, in [0, 1). For records of encoding hu16.",
    )
    cutout: float = _field(
        0.0, "Augmentation: side of a square that is blackened, as a share of the image's, [0, 1)."
    )
    mixup: float = _field(
        0.0,
        "Augmentation: each slice is blended with another of its batch, its share drawn from "
        "Beta(mixup, mixup); labels alike. 0 blends none.",
    )

    strategy: str = _field(
        "one",
        "one device; mirrored: a replica on each of the machine's GPUs; multi_worker: on each GPU "
        "of each host that the environment variable TF_CONFIG names.",
        STRATEGIES,
    )
    cpu_replicas: int = _field(
        0, "With mirrored: so many replicas on the CPU. 0: the GPUs, or one replica without any."
    )
    mixed_precision: str = _field(
        "auto", "The arithmetic's type; auto looks at the hardware.", PRECISIONS
    )
    xla: str = _field("auto", "Compile the forward and backward pass; auto: on GPUs.", XLA_CHOICES)
    steps_per_execution: int = _field(
        1, "Steps that go to the devices in one call; more than 1 helps fast GPUs."
    )
    deterministic: bool = _field(
        False,
        "The same bits each time on GPUs, too, by slower kernels. CPUs give the same bits anyway.",
    )
    checkpoint_steps: int = _field(
        1000, "Steps between checkpoints; one more is written at each epoch's end."
    )
    keep_epochs: bool = _field(
        False,
        "Keep each epoch's weights in work_dir/epochs/, for ich_tf.calibrate --average_epochs.",
    )
    self_check: bool = _field(
        True,
        "Before the first step, compare replicas with one device, and XLA with none, on a batch.",
    )
    tensorboard: bool = _field(True, "Write logs for TensorBoard to work_dir/tensorboard.")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kind = type(field.default)
            if kind is float and type(value) is int:
                value = float(value)
                object.__setattr__(self, field.name, value)
            # bool is an int to isinstance: `seed=True` is a slip all the same.
            _require(type(value) is kind, field.name, value, f"of type {kind.__name__}")
            if kind is float:
                _require(math.isfinite(value), field.name, value, "a finite number")
            choices = field.metadata.get("choices")
            if choices is not None:
                _require(value in choices, field.name, value, f"one of {', '.join(choices)}")
        for name in ("data_dir", "work_dir", "weights"):
            _require(bool(getattr(self, name)), name, getattr(self, name), "not empty")
        for name in (
            "batch_size",
            "epochs",
            "accumulation",
            "steps_per_execution",
            "checkpoint_steps",
            "units",
            "layers",
        ):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in (
            "seed",
            "patience",
            "max_steps_per_epoch",
            "warmup_epochs",
            "weight_decay",
            "clip_norm",
            "cpu_replicas",
            "mixup",
            "series_weight",
        ):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in (
            "dropout",
            "bn_momentum",
            "shift",
            "scale",
            "ema_decay",
            "label_smoothing",
            "window_jitter",
            "cutout",
        ):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        for name in ("negative_fraction", "negative_weight"):
            _require(0 < getattr(self, name) <= 1, name, getattr(self, name), "in (0, 1]")
        _require(
            self.validation_fold == ALL_FOLDS or self.validation_fold.isdecimal(),
            "validation_fold",
            self.validation_fold,
            "a fold's number, from 0, or all",
        )
        _require(self.neighbours in (1, 3, 5), "neighbours", self.neighbours, "1, 3 or 5")
        _require(self.slab >= 3 and self.slab % 2 == 1, "slab", self.slab, "odd, 3 or more")
        _require(self.image_size >= 32, "image_size", self.image_size, "32 or more, in px")
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        _require(0 < self.lr_decay <= 1, "lr_decay", self.lr_decay, "in (0, 1]")
        _require(self.rotate <= 180 and self.rotate >= 0, "rotate", self.rotate, "in [0, 180]")
        self._check_together()

    def _check_together(self) -> None:
        _require(
            self.warmup_epochs < self.epochs,
            "warmup_epochs",
            self.warmup_epochs,
            f"below epochs, which is {self.epochs}",
        )
        if self.lookahead:
            _require(
                self.optimizer != "adamw", "optimizer", self.optimizer, "another with --lookahead"
            )
        if self.optimizer in ("adam", "radam") or (self.lookahead and self.optimizer != "lamb"):
            # Rectified Adam's decay would reach biases and batch normalisation as well.
            _require(
                self.weight_decay == 0,
                "weight_decay",
                self.weight_decay,
                "0 with adam, radam and, but for lamb, lookahead",
            )
        if self.strategy == "multi_worker":
            _require(
                self.validation_fold != ALL_FOLDS,
                "validation_fold",
                self.validation_fold,
                "a fold's number with --strategy=multi_worker: train the folds one by one",
            )
        if self.strategy == "one":
            _require(
                self.cpu_replicas <= 1,
                "cpu_replicas",
                self.cpu_replicas,
                "0 or 1 with --strategy=one (use --strategy=mirrored)",
            )
        if self.cpu_replicas:
            _require(
                self.batch_size % self.cpu_replicas == 0,
                "batch_size",
                self.batch_size,
                f"a multiple of cpu_replicas, which is {self.cpu_replicas}",
            )
        _require(
            self.batch_size % self.accumulation == 0,
            "batch_size",
            self.batch_size,
            f"a multiple of accumulation, which is {self.accumulation}",
        )
        if self.backbone in SERIES_BACKBONES:
            self._check_series()
        if self.sequence != "none":
            self._require_defaults(_OF_SLICES, f"--sequence={self.sequence}")
        if self.backbone == "tiny":
            _require(
                self.weights != "imagenet",
                "weights",
                self.weights,
                "none or a path with --backbone=tiny, which has no ImageNet weights",
            )

    def _check_series(self) -> None:
        """What only images have is left as it is by default."""
        self._require_defaults(_OF_IMAGES, f"--backbone={self.backbone}, which sees no images")
        _require(
            self.weights == "none",
            "weights",
            self.weights,
            f"none with --backbone={self.backbone}",
        )
        _require(
            self.strategy != "multi_worker",
            "strategy",
            self.strategy,
            f"one or mirrored with --backbone={self.backbone}",
        )

    def _require_defaults(self, names: tuple[str, ...], beside: str) -> None:
        for field in dataclasses.fields(self):
            if field.name in names:
                value = getattr(self, field.name)
                expected = f"{field.default!r} with {beside}"
                _require(value == field.default, field.name, value, expected)

    @property
    def negatives_kept(self) -> float:
        """How much less the training sees of slices without a bleed than there are."""
        return self.negative_fraction * self.negative_weight

    def to_json(self) -> str:
        """The config as a JSON object, one field a line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """The inverse of `to_json`.

        Raises:
          ConfigError: If `text` is no JSON object or names a field that does not exist.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"a config must be JSON, and this is not: {error}.") from error
        if not isinstance(values, dict):
            raise ConfigError(f"a config must be a JSON object, not {type(values).__name__}.")
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ConfigError(
                f"the config names fields that do not exist: {', '.join(unknown)}. It was "
                "written by another version of ich_tf."
            )
        return cls(**values)

    def differences(self, other: TrainConfig) -> list[str]:
        """`name: value here, value there` for each field of the computation that differs."""
        here, there = dataclasses.asdict(self), dataclasses.asdict(other)
        return [
            f"{name}: {here[name]!r} here, {there[name]!r} there"
            for name in here
            if name not in FREE_FIELDS and here[name] != there[name]
        ]


def _require(holds: bool, name: str, value: Any, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value!r}; it must be {expected}.")


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

    data_dir: str = _field("data/tfrecords", "The folder that the models were trained on.")
    work_dir: str = _field(
        "runs/resnet50",
        "Where calibration.json goes: the folder of a run, or of the runs that "
        "--validation_fold=all made; with --members a new folder, which then stands for all.",
    )
    members: tuple[str, ...] = _field(
        (),
        "Folders of runs to average, with shares fitted on validation patients. Empty: --work_dir.",
    )
    average_epochs: int = _field(
        0,
        "Of each run, average the last so many epochs, with fitted shares, instead of taking the "
        "best (train with --keep_epochs).",
    )
    flip: bool = _field(
        False, "Predict each slice and its mirror image, and take the mean: twice the time."
    )
    smoothing_mm: float = _field(
        -1.0,
        "Standard deviation of the Gaussian along the series, mm; 0 smooths nothing, -1 chooses "
        "the width with the least loss.",
    )
    method: str = _field(
        "auto",
        "How logits become probabilities; auto takes the one with the least loss on validation "
        "patients that it was not fitted on.",
        ("auto", *CALIBRATIONS),
    )
    batch_size: int = _field(64, "Slices a step.")

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(self.members))
        _require(bool(self.work_dir), "work_dir", self.work_dir, "not empty")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        _require(self.average_epochs >= 0, "average_epochs", self.average_epochs, "0 or more")
        known = self.smoothing_mm == -1 or 0 <= self.smoothing_mm <= 100
        _require(known, "smoothing_mm", self.smoothing_mm, "-1, or from 0 to 100")


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

    data_dir: str = _field("data/tfrecords", "The folder that the slice models were trained on.")
    work_dir: str = _field(
        "runs/resnet50_folds", "The folder of runs that ich_tf.train --validation_fold=all made."
    )
    out_dir: str = _field("data/features", "Folder for the records of series.")
    feature_dim: int = _field(
        64, "Numbers a slice: so many principal components of the networks' features."
    )
    num_aligned: int = _field(
        2000, "Slices on which each network's features are brought into the first one's axes."
    )
    batch_size: int = _field(64, "Slices a step.")

    def __post_init__(self) -> None:
        for name in ("feature_dim", "batch_size"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _require(
            self.num_aligned >= 10 * self.feature_dim,
            "num_aligned",
            self.num_aligned,
            f"ten times feature_dim, which is {self.feature_dim}, or more",
        )


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

    data_dir: str = _field("data/tfrecords", "The folder that ich_tf.make_tfrecords wrote.")
    work_dir: str = _field("runs/resnet50", "The folder of the trained model.")
    split: str = _field("test", "test, or fold-0, fold-1, ...")
    out_dir: str = _field("", "Folder for the results. Empty: evaluation/<split> in --work_dir.")
    calibrated: bool = _field(True, "Apply the calibration.json of --work_dir, if there is one.")
    bootstrap: int = _field(
        1000, "Resamples of the patients for 95 % intervals; 0 gives no intervals."
    )
    prevalence: float = _field(
        0.0,
        "Share of slices, series or patients with a bleed that predictive values are for, in "
        "[0, 1). 0: that of the evaluated patients.",
    )
    masks_dir: str = _field(
        "",
        "Folder of masks (<image id>.png, bit k = class k, as of make_phantoms --masks): measures "
        "heat maps, and scores by the area of the bleed.",
    )
    report: bool = _field(True, "Write report.html and model_card.md.")
    batch_size: int = _field(64, "Slices a step.")

    def __post_init__(self) -> None:
        _require(self.bootstrap >= 0, "bootstrap", self.bootstrap, "0 or more")
        _require(0 <= self.prevalence < 1, "prevalence", self.prevalence, "in [0, 1)")
        known = self.split == "test" or self.split.removeprefix("fold-").isdigit()
        _require(known, "split", self.split, "test, or fold-0, fold-1, ...")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")

    @property
    def results_dir(self) -> Path:
        """Where the results go."""
        return Path(self.out_dir or Path(self.work_dir) / "evaluation" / self.split)


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

    work_dir: str = _field("runs/resnet50", "The folder of the trained model.")
    out_dir: str = _field(
        "", "Folder to write <version>/ and manifest.json into. Empty: export in --work_dir."
    )
    version: int = _field(1, "Of the model, as TensorFlow Serving counts; 1 or more.")
    calibrated: bool = _field(True, "Apply the calibration.json of --work_dir, if there is one.")
    prevalence: float = _field(
        0.0, "As of ich_tf.predict: share of slices with a bleed where the model will be used."
    )
    overwrite: bool = _field(False, "Replace that version, if it is there already.")

    def __post_init__(self) -> None:
        _require(self.version >= 1, "version", self.version, "1 or more")
        _require(0 <= self.prevalence < 1, "prevalence", self.prevalence, "in [0, 1)")

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

    dicom_dir: str = _field(
        "data/phantoms/stage_2_test",
        "Folder (nested, any extension) or zip archive of DICOM files, one file, or a text file "
        "(.txt) with a path a line.",
    )
    work_dir: str = _field("runs/resnet50", "The folder of the trained model.")
    out_csv: str = _field(
        "",
        "The submission to write. Empty: submission.csv in --work_dir. Beside it go "
        "<name>_series.csv, <name>_series.json, <name>_rejected.csv and <name>_heatmaps/.",
    )
    sample_csv: str = _field(
        "",
        "Sample submission whose ids and order to follow. Empty: stage_2_sample_submission.csv "
        "beside --dicom_dir if there is one, else the order of the files' names.",
    )
    calibrated: bool = _field(True, "Apply the calibration.json of --work_dir, if there is one.")
    prevalence: float = _field(
        0.0,
        "Share of slices with a bleed where these files come from, in [0, 1): probabilities are "
        "moved to it. 0: as in the validation patients.",
    )
    heatmaps: tuple[str, ...] = _field(
        (), "Classes to draw heat maps of: of the slices at or above the operating point."
    )
    max_heatmaps: int = _field(100, "Of a class, draw at most the likeliest so many.")
    batch_size: int = _field(32, "Slices a step.")
    num_workers: int = _field(0, "Processes that read DICOM files; 0 means one per core.")

    def __post_init__(self) -> None:
        object.__setattr__(self, "heatmaps", tuple(self.heatmaps))
        for name in self.heatmaps:
            _require(name in CLASSES, "heatmaps", name, f"of {', '.join(CLASSES)}")
        _require(self.max_heatmaps >= 1, "max_heatmaps", self.max_heatmaps, "1 or more")
        _require(0 <= self.prevalence < 1, "prevalence", self.prevalence, "in [0, 1)")
        _require(bool(self.dicom_dir), "dicom_dir", self.dicom_dir, "a folder, archive or file")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        _require(self.num_workers >= 0, "num_workers", self.num_workers, "0 or more")

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
