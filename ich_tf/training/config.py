"""What a training run is told: one frozen dataclass, checked as it is made.

The defaults are the ResNet50 recipe. `command.define_flags` makes one flag of each field,
and a run writes its config to `config.json` in its work dir.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import ClassVar

from ich_tf.errors import ConfigError
from ich_tf.models.architectures import BACKBONES, SERIES_BACKBONES
from ich_tf.runtime.options import option, require

OPTIMIZERS = ("adam", "adamw", "sgd", "lamb", "radam")
SCHEDULES = ("constant", "exponential", "cosine")
STRATEGIES = ("one", "mirrored", "multi_worker")
ALL_FOLDS = "all"
PRECISIONS = ("auto", "float32", "float16", "bfloat16")
XLA_CHOICES = ("auto", "on", "off")

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

    data_dir: str = option("data/tfrecords", "The folder that ich_tf.make_tfrecords wrote.")
    work_dir: str = option("runs/resnet50", "The folder of this run: checkpoints, logs, config.")
    overwrite: bool = option(
        False, "Start anew, deleting the run that work_dir holds, instead of continuing it."
    )
    validation_fold: str = option(
        "0",
        "The fold to validate on, from 0; the run trains on all others. all: each fold in turn, in "
        "work_dir/fold-0, ..., and then oof_predictions.csv, each slice predicted by the model "
        "that did not see its patient.",
    )
    seed: int = option(
        0, "Of the initial weights, the order of the records, augmentation and dropout."
    )

    backbone: str = option(
        "resnet50",
        "The network below the classifier; bigru and transformer read the features of a series, "
        "and --data_dir is then what ich_tf.extract_features wrote.",
        (*BACKBONES, *SERIES_BACKBONES),
    )
    weights: str = option(
        "imagenet",
        "Initial weights: imagenet (downloaded once by Keras), none (random), or the path of a "
        "weights file: keras.applications' without its top, or best.weights.h5 of another run.",
    )
    image_size: int = option(
        224, "Input height and width of the network, px. The model resizes records of another size."
    )
    neighbours: int = option(
        1,
        "Slices the network sees at once as channels: 1, or 3 or 5, the slice between those beside "
        "it in its series; at the series' ends the last one again.",
    )
    dropout: float = option(0.0, "Share of the features dropped before the classifier, in [0, 1).")
    bn_momentum: float = option(
        0.0,
        "Momentum of the batch normalisation's moving statistics, in [0, 1); 0 keeps the "
        "backbone's own (0.99). Short runs from random weights want about 0.9.",
    )
    freeze_bn: bool = option(
        False, "Keep batch normalisation as loaded: neither its statistics nor its scale learn."
    )

    sequence: str = option(
        "none",
        "bigru or transformer: train --backbone and a model over its features of consecutive "
        "slices together, end to end.",
        ("none", *SERIES_BACKBONES),
    )
    slab: int = option(
        9, "With --sequence: consecutive slices of a training example; odd, 3 or more."
    )
    units: int = option(64, "Of bigru and transformer: width of each direction, of each layer.")
    layers: int = option(2, "Of bigru and transformer.")
    series_weight: float = option(
        0.1, "Of bigru and transformer: weight of a series' own loss beside its slices' mean."
    )
    reverse: bool = option(
        False,
        "Of bigru and transformer: turn half of the series upside down in training, and take the "
        "mean of both ways in prediction.",
    )

    batch_size: int = option(
        32,
        "Slices an optimizer step, over all replicas and hosts; series, for bigru and transformer; "
        "slabs, with --sequence.",
    )
    accumulation: int = option(
        1,
        "Parts of each replica's batch that go through the network one after the other, their "
        "gradients added: a batch then takes the memory of a part.",
    )
    epochs: int = option(5, "Passes over the training folds.")
    max_steps_per_epoch: int = option(0, "Ends each epoch after so many steps; 0 uses all records.")
    patience: int = option(
        0, "Stop after so many epochs without a lower validation loss; 0 never stops early."
    )
    optimizer: str = option(
        "adam",
        "sgd: Nesterov, momentum 0.9; lamb and radam (rectified Adam) are tensorflow-addons'.",
        OPTIMIZERS,
    )
    lookahead: bool = option(
        False,
        "Every 6 steps, go back half of the way to the weights of 6 steps before (tensorflow-"
        "addons; not with adamw).",
    )
    learning_rate: float = option(5e-4, "At the start, or at the warm-up's end.")
    schedule: str = option(
        "exponential",
        "constant; exponential: times lr_decay after each epoch; cosine: to 0 at the end.",
        SCHEDULES,
    )
    lr_decay: float = option(0.8, "The exponential schedule's factor an epoch, in (0, 1].")
    warmup_epochs: float = option(
        0.0, "Epochs, or part of one, over which the rate rises from 0 in a straight line."
    )
    weight_decay: float = option(
        0.0, "A step, times the rate; kernels only. For adamw, sgd and lamb."
    )
    clip_norm: float = option(
        0.0, "The gradient's global norm, over all replicas, is cut down to this; 0 never cuts."
    )

    ema_decay: float = option(
        0.0,
        "Validate and save an exponential moving average of the weights, with this decay a step, "
        "in [0, 1), less in the first steps; 0 takes the weights themselves.",
    )
    label_smoothing: float = option(
        0.0, "Labels move by half of this towards each other, in [0, 1)."
    )
    negative_fraction: float = option(
        1.0,
        "Share of the slices without a bleed that an epoch reads, drawn anew each epoch, in "
        "(0, 1]. What this changes in the probabilities is undone in the model.",
    )
    negative_weight: float = option(
        1.0, "Weight of a slice without a bleed in the loss, in (0, 1]; undone likewise."
    )

    flip: bool = option(False, "Augmentation: mirror half of the slices left to right.")
    shift: float = option(
        0.0, "Augmentation: largest shift along each axis, as a share of the side, in [0, 1)."
    )
    rotate: float = option(0.0, "Augmentation: largest rotation either way, degrees, in [0, 180].")
    scale: float = option(
        0.0, "Augmentation: largest change of size either way, as a share, in [0, 1)."
    )
    window_jitter: float = option(
        0.0,
        "Augmentation: largest change of the windows' width, as a share, and of their centre, as a "
        "share of 80 HU, in [0, 1). For records of encoding hu16.",
    )
    cutout: float = option(
        0.0, "Augmentation: side of a square that is blackened, as a share of the image's, [0, 1)."
    )
    mixup: float = option(
        0.0,
        "Augmentation: each slice is blended with another of its batch, its share drawn from "
        "Beta(mixup, mixup); labels alike. 0 blends none.",
    )

    strategy: str = option(
        "one",
        "one device; mirrored: a replica on each of the machine's GPUs; multi_worker: on each GPU "
        "of each host that the environment variable TF_CONFIG names.",
        STRATEGIES,
    )
    cpu_replicas: int = option(
        0, "With mirrored: so many replicas on the CPU. 0: the GPUs, or one replica without any."
    )
    mixed_precision: str = option(
        "auto", "The arithmetic's type; auto looks at the hardware.", PRECISIONS
    )
    xla: str = option("auto", "Compile the forward and backward pass; auto: on GPUs.", XLA_CHOICES)
    steps_per_execution: int = option(
        1, "Steps that go to the devices in one call; more than 1 helps fast GPUs."
    )
    deterministic: bool = option(
        False,
        "The same bits each time on GPUs, too, by slower kernels. CPUs give the same bits anyway.",
    )
    checkpoint_steps: int = option(
        1000, "Steps between checkpoints; one more is written at each epoch's end."
    )
    keep_epochs: bool = option(
        False,
        "Keep each epoch's weights in work_dir/epochs/, for ich_tf.calibrate --average_epochs.",
    )
    self_check: bool = option(
        True,
        "Before the first step, compare replicas with one device, and XLA with none, on a batch.",
    )
    tensorboard: bool = option(True, "Write logs for TensorBoard to work_dir/tensorboard.")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kind = type(field.default)
            if kind is float and type(value) is int:
                value = float(value)
                object.__setattr__(self, field.name, value)
            # bool is an int to isinstance: `seed=True` is a slip all the same.
            require(type(value) is kind, field.name, value, f"of type {kind.__name__}")
            if kind is float:
                require(math.isfinite(value), field.name, value, "a finite number")
            choices = field.metadata.get("choices")
            if choices is not None:
                require(value in choices, field.name, value, f"one of {', '.join(choices)}")
        for name in ("data_dir", "work_dir", "weights"):
            require(bool(getattr(self, name)), name, getattr(self, name), "not empty")
        for name in (
            "batch_size",
            "epochs",
            "accumulation",
            "steps_per_execution",
            "checkpoint_steps",
            "units",
            "layers",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
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
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
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
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        for name in ("negative_fraction", "negative_weight"):
            require(0 < getattr(self, name) <= 1, name, getattr(self, name), "in (0, 1]")
        require(
            self.validation_fold == ALL_FOLDS or self.validation_fold.isdecimal(),
            "validation_fold",
            self.validation_fold,
            "a fold's number, from 0, or all",
        )
        require(self.neighbours in (1, 3, 5), "neighbours", self.neighbours, "1, 3 or 5")
        require(self.slab >= 3 and self.slab % 2 == 1, "slab", self.slab, "odd, 3 or more")
        require(self.image_size >= 32, "image_size", self.image_size, "32 or more, in px")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        require(0 < self.lr_decay <= 1, "lr_decay", self.lr_decay, "in (0, 1]")
        require(self.rotate <= 180 and self.rotate >= 0, "rotate", self.rotate, "in [0, 180]")
        self._check_together()

    def _check_together(self) -> None:
        require(
            self.warmup_epochs < self.epochs,
            "warmup_epochs",
            self.warmup_epochs,
            f"below epochs, which is {self.epochs}",
        )
        if self.lookahead:
            require(
                self.optimizer != "adamw", "optimizer", self.optimizer, "another with --lookahead"
            )
        if self.optimizer in ("adam", "radam") or (self.lookahead and self.optimizer != "lamb"):
            # Rectified Adam's decay would reach biases and batch normalisation as well.
            require(
                self.weight_decay == 0,
                "weight_decay",
                self.weight_decay,
                "0 with adam, radam and, but for lamb, lookahead",
            )
        if self.strategy == "multi_worker":
            require(
                self.validation_fold != ALL_FOLDS,
                "validation_fold",
                self.validation_fold,
                "a fold's number with --strategy=multi_worker: train the folds one by one",
            )
        if self.strategy == "one":
            require(
                self.cpu_replicas <= 1,
                "cpu_replicas",
                self.cpu_replicas,
                "0 or 1 with --strategy=one (use --strategy=mirrored)",
            )
        if self.cpu_replicas:
            require(
                self.batch_size % self.cpu_replicas == 0,
                "batch_size",
                self.batch_size,
                f"a multiple of cpu_replicas, which is {self.cpu_replicas}",
            )
        require(
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
            require(
                self.weights != "imagenet",
                "weights",
                self.weights,
                "none or a path with --backbone=tiny, which has no ImageNet weights",
            )

    def _check_series(self) -> None:
        """What only images have is left as it is by default."""
        self._require_defaults(_OF_IMAGES, f"--backbone={self.backbone}, which sees no images")
        require(
            self.weights == "none",
            "weights",
            self.weights,
            f"none with --backbone={self.backbone}",
        )
        require(
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
                require(value == field.default, field.name, value, expected)

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
