"""The config of a training run: the parts of `config_parts` in one flat, frozen dataclass.

The defaults are the ResNet50 recipe. `command.define_flags` makes one flag of each field, and a run
writes its config to `config.json` in its work dir.
"""

from __future__ import annotations

import dataclasses
import json
from typing import ClassVar

from ich_tf.errors import ConfigError
from ich_tf.models.architectures import POOLS, SERIES_BACKBONES
from ich_tf.runtime.files import parse_json
from ich_tf.runtime.options import require
from ich_tf.training.config_parts import (
    ALL_FOLDS,
    BAG,
    EXAMPLES,
    PARTS,
    SERIES,
    SLAB,
    SLICE,
    AugmentationConfig,
    FineTuningConfig,
    HardwareConfig,
    LossConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
    RunConfig,
    ScheduleConfig,
    SequenceConfig,
)

__all__ = ["ALL_FOLDS", "FREE_FIELDS", "TrainConfig"]

# Fields that may change when a run continues, since no result depends on them. The data are
# compared by their hash, not by their folder.
FREE_FIELDS = (
    "data_dir",
    "work_dir",
    "overwrite",
    "extend",
    "checkpoint_steps",
    "keep_epochs",
    "self_check",
    "tensorboard",
    "tracker",
)
# Fields that may change with --extend: when the run ends.
_END_FIELDS = ("epochs", "patience")


# dataclasses puts the fields of the last base first: the parts in the order of `PARTS`, backwards.
@dataclasses.dataclass(frozen=True)
class TrainConfig(
    OutputConfig,
    HardwareConfig,
    AugmentationConfig,
    LossConfig,
    FineTuningConfig,
    OptimizerConfig,
    ScheduleConfig,
    SequenceConfig,
    NetworkConfig,
    RunConfig,
):
    """Config of a training run; the fields are those of its parts.

    Attributes:
      HEADINGS: Heading of each group of flags in `--help`, by the group's first flag.

    Raises:
      ConfigError: If a field is out of its range, or two fields contradict each other.

    Examples:
      >>> config = TrainConfig(backbone="efficientnet_b4", image_size=256, flip=True)
      >>> config.batch_size, config.example
      (32, 'slice')
      >>> TrainConfig.from_json(config.to_json()) == config
      True
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        dataclasses.fields(part)[0].name: part.HEADING  # type: ignore[arg-type]
        for part in PARTS
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.warmup_epochs < self.epochs,
            "warmup_epochs",
            self.warmup_epochs,
            f"below epochs, which is {self.epochs}",
        )
        require(not (self.extend and self.overwrite), "extend", True, "false with --overwrite")
        if self.strategy == "multi_worker":
            require(
                self.validation_fold != ALL_FOLDS,
                "validation_fold",
                self.validation_fold,
                "a fold's number with --strategy=multi_worker: train the folds one by one",
            )
            require(not self.seeds, "seeds", list(self.seeds), "empty with multi_worker")
        if self.sync_bn:
            for name, value in (("accumulation", 1), ("freeze_bn", False), ("slice_chunk", 0)):
                given = getattr(self, name)
                require(given == value, name, given, f"{value} with --sync_bn")
            require(self.xla != "on", "xla", self.xla, "auto or off with --sync_bn")
        if self.cpu_replicas and not self.batch_per_replica:
            require(
                self.batch_size % self.cpu_replicas == 0,
                "batch_size",
                self.batch_size,
                f"a multiple of cpu_replicas, which is {self.cpu_replicas}",
            )
        self._check_fine_tuning()
        if self.flip_z:
            require(self.neighbours > 1, "neighbours", self.neighbours, "3 or 5 with --flip_z")
        self._check_example()
        self._check_segmentation()

    def _check_segmentation(self) -> None:
        """Checks options of the decoder against each other."""
        is_pooled = self.pooling == "lse"
        if not self.segmentation:
            require(not is_pooled, "pooling", self.pooling, "mean without --segmentation")
            require(
                self.mask_weight == 1, "mask_weight", self.mask_weight, "1 without --segmentation"
            )
            require(
                self.self_training == 0,
                "self_training",
                self.self_training,
                "0 without --segmentation",
            )
            return
        if not self.ema_decay:
            require(
                self.self_training == 0,
                "self_training",
                self.self_training,
                "0 without --ema_decay",
            )
        require(self.mixup == 0, "mixup", self.mixup, "0 with --segmentation")
        if is_pooled:
            require(self.dropout == 0, "dropout", self.dropout, "0 with --pooling=lse")
        else:
            require(
                self.mask_weight > 0, "mask_weight", self.mask_weight, "above 0 with --pooling=mean"
            )

    def _check_fine_tuning(self) -> None:
        """Checks options of fine-tuning against those of the optimizer and the schedule."""
        require(
            self.freeze_epochs < self.epochs,
            "freeze_epochs",
            self.freeze_epochs,
            f"below epochs, which is {self.epochs}",
        )
        if self.optimizer in ("lamb", "radam") or self.lookahead:
            for name in ("freeze_epochs", "head_lr_multiplier", "layer_decay"):
                field = self.__dataclass_fields__[name]
                require(
                    getattr(self, name) == field.default,
                    name,
                    getattr(self, name),
                    f"{field.default!r} with an optimizer of tensorflow-addons",
                )

    def _check_example(self) -> None:
        """Checks that options for other kinds of training examples have their defaults."""
        reason = {
            SLICE: "single slices",
            SLAB: f"--sequence={self.sequence}",
            BAG: f"--sequence={self.sequence}",
            SERIES: f"--backbone={self.backbone}, which sees no images",
        }[self.example]
        for field in dataclasses.fields(self):
            if self.example not in field.metadata.get("examples", EXAMPLES):
                value = getattr(self, field.name)
                expected = f"{field.default!r} with {reason}"
                require(value == field.default, field.name, value, expected)
        if self.backbone in POOLS:
            require(
                not self.reverse,
                "reverse",
                self.reverse,
                f"false with {self.backbone} (--noreverse)",
            )
        if self.example == SERIES:
            require(
                self.strategy != "multi_worker",
                "strategy",
                self.strategy,
                f"one or mirrored with --backbone={self.backbone}",
            )

    @property
    def example(self) -> str:
        """Kind of the training examples, one of `config_parts.EXAMPLES`."""
        if self.backbone in SERIES_BACKBONES:
            return SERIES
        if self.sequence in POOLS:
            return BAG
        return SLICE if self.sequence == "none" else SLAB

    def to_json(self) -> str:
        """Writes the config as a JSON object, one field a line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """Reads a config that `to_json` wrote; fields that it lacks get their defaults.

        Raises:
          ConfigError: If `text` is no JSON object or names a field that does not exist.
        """
        try:
            values = parse_json(text)
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
        """Fields that change the result and differ, as `name: value here, value there`.

        With `extend` the epochs may be more than the other config's, and the patience another.
        """
        extends = self.extend and self.epochs >= other.epochs
        free = (*FREE_FIELDS, *(_END_FIELDS if extends else ()))
        values, other_values = dataclasses.asdict(self), dataclasses.asdict(other)
        return [
            f"{name}: {values[name]!r} here, {other_values[name]!r} there"
            for name in values
            if name not in free and values[name] != other_values[name]
        ]
