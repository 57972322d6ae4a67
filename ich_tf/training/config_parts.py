"""The parts of a training run's config: one frozen dataclass a concern, checked when it is made.

`config.TrainConfig` joins all of them into one flat config. A function that reads one concern alone
takes that part as its config.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

from ich_tf.inference.config import PRECISIONS
from ich_tf.models.architectures import (
    APPLICATIONS,
    NEIGHBOUR_STEMS,
    POOLINGS,
    POOLS,
    SERIES_BACKBONES,
    expected_backbones,
    is_backbone,
    smallest_size,
)
from ich_tf.runtime.options import check_options, option, require

ALL_FOLDS = "all"
OPTIMIZERS = ("adam", "adamw", "sgd", "lamb", "radam")
SCHEDULES = ("constant", "exponential", "cosine")
STRATEGIES = ("one", "mirrored", "multi_worker")
XLA_CHOICES = ("auto", "on", "off")
# Where batches are augmented.
DEVICE, INPUT = "device", "input"

# Kinds of training examples: single slices, slabs of consecutive slices, bags of the slices of an
# exam, features of whole series.
SLICE, SLAB, BAG, SERIES = EXAMPLES = ("slice", "slab", "bag", "series")


def _option_for(examples: tuple[str, ...], *arguments: Any, **settings: Any) -> Any:
    """An `option` that has a meaning for some kinds of training examples alone.

    Args:
      examples: Kinds of training examples, of `EXAMPLES`. With the others the option must keep its
        default, which `TrainConfig` checks.
      *arguments: Arguments of `option`.
      **settings: Keyword arguments of `option`.
    """
    field = option(*arguments, **settings)
    metadata = {**field.metadata, "examples": examples}
    return dataclasses.field(default=field.default, metadata=metadata)


_slice_option = functools.partial(_option_for, (SLICE,))
_image_option = functools.partial(_option_for, (SLICE, SLAB, BAG))
_exam_option = functools.partial(_option_for, (BAG, SERIES))
_bag_option = functools.partial(_option_for, (BAG,))


class ConfigPart:
    """Base of the parts: checks the type, range and choices of every field.

    A part adds what its options have to do with each other in `__post_init__`, after its base's.

    Attributes:
      HEADING: Heading of the part's flags in `--help`.
    """

    HEADING: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check_options(self)


@dataclasses.dataclass(frozen=True)
class RunConfig(ConfigPart):
    """Data to train on, folder to train in, fold and seed."""

    HEADING: ClassVar[str] = "Data and run"

    data_dir: str = option(
        "data/tfrecords", "Folder that ich_tf.make_tfrecords wrote.", is_path=True
    )
    work_dir: str = option(
        "runs/resnet50", "Folder of this run: checkpoints, logs, config.", is_path=True
    )
    overwrite: bool = option(
        False, "Start anew, deleting the run in work_dir, instead of continuing it."
    )
    validation_fold: str = option(
        "0",
        "Number of the fold to validate on, from 0; the run trains on all other folds. all: trains "
        "a run for each fold in turn, in work_dir/fold-0, ..., and then writes "
        "oof_predictions.csv, in which each slice is predicted by the model that did not see its "
        "patient.",
    )
    seed: int = option(
        0,
        "Seed of the initial weights, the order of the records, augmentation and dropout.",
        within="[0, inf)",
    )

    seeds: tuple[str, ...] = option(
        (),
        "Seeds of several runs, which are trained one after the other in work_dir/seed-0, ...; "
        "other commands take the mean of their probabilities. Empty: one run, of --seed.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        seeds = [int(seed) for seed in self.seeds if seed.isdecimal()]
        require(
            len(set(seeds)) == len(self.seeds) and max(seeds, default=0) < 2**63,
            "seeds",
            list(self.seeds),
            "different numbers in [0, 2**63)",
        )
        for name in ("data_dir", "work_dir"):
            require(bool(getattr(self, name)), name, getattr(self, name), "not empty")
        require(
            self.validation_fold == ALL_FOLDS or self.validation_fold.isdecimal(),
            "validation_fold",
            self.validation_fold,
            "a fold's number, from 0, or all",
        )
        require(self.seed < 2**63, "seed", self.seed, "in [0, 2**63)")


@dataclasses.dataclass(frozen=True)
class NetworkConfig(ConfigPart):
    """The network, its input and its initial weights."""

    HEADING: ClassVar[str] = "Network"

    backbone: str = option(
        "resnet50",
        "Network below the classifier: tiny; a network of keras.applications, such as resnet50, "
        "efficientnet_b4, efficientnet_v2_s or convnext_tiny (docs/training.md lists them); or "
        "module:function, one of your own (docs/library.md). bigru, transformer, attention, max, "
        "noisy_or and lse read the features of a series; --data_dir is then the folder that "
        "ich_tf.extract_features wrote.",
    )
    weights: str = option(
        "imagenet",
        "Initial weights: imagenet (downloaded once by Keras), none (random), the path of a "
        "weights file: keras.applications' without its top, or best.weights.h5 of another run with "
        "as many --neighbours or fewer; or a folder: a run's, or shared weights with their card; "
        "or a bundle that ich_tf.bundle wrote.",
        is_path=True,
    )
    image_size: int = option(
        224,
        "Height and width of the network's input, px. The model resizes records of another size.",
        within="[32, inf)",
    )
    neighbours: int = _slice_option(
        1,
        "Number of slices that the network sees at once, as channels: 1, 3 or 5, with the "
        "slice to classify in the middle. Beyond an end of the series the last slice is "
        "repeated.",
    )
    neighbour_stem: str = _slice_option(
        "middle",
        "How --neighbours enter the network: middle, as channels of its first convolution; shared, "
        "each through the same first convolution, after which a convolution of 1 x 1 joins them. "
        "With loaded weights either starts as the network of the middle slice alone.",
        NEIGHBOUR_STEMS,
    )
    segmentation: bool = _slice_option(
        False,
        "Add a decoder, which learns from the masks of the records where each bleed is: the "
        "network then gives six logits of a slice and six of each of its pixels.",
    )
    pooling: str = _slice_option(
        "mean",
        "Whence the logits of a slice come: mean, from the mean of the feature maps; lse, with "
        "--segmentation, from the logits of its pixels by a smooth maximum, so that labels of "
        "slices alone (--mask_weight=0) teach the decoder, too.",
        POOLINGS,
    )
    dropout: float = option(
        0.0, "Share of the features dropped before the classifier.", within="[0, 1)"
    )
    bn_momentum: float = _image_option(
        0.0,
        "Momentum of batch normalisation's moving statistics; 0 keeps the "
        "backbone's own (0.99). Short runs from random weights want about 0.9.",
        within="[0, 1)",
    )
    freeze_bn: bool = _image_option(
        False,
        "Keep batch normalisation as loaded: neither its statistics nor its scale learn.",
    )
    sync_bn: bool = _image_option(
        False,
        "Batch normalisation sees the batch of all replicas, as one device would, instead of each "
        "replica's part: for less than 16 slices a replica. Slower, and without XLA.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.weights), "weights", self.weights, "not empty")
        require(self.neighbours in (1, 3, 5), "neighbours", self.neighbours, "1, 3 or 5")
        require(
            self.neighbours > 1 or self.neighbour_stem == "middle",
            "neighbour_stem",
            self.neighbour_stem,
            "middle with --neighbours=1",
        )
        require(
            is_backbone(self.backbone) or self.backbone in SERIES_BACKBONES,
            "backbone",
            self.backbone,
            expected_backbones(self.backbone, *SERIES_BACKBONES),
        )
        require(
            self.image_size >= smallest_size(self.backbone),
            "image_size",
            self.image_size,
            f"{smallest_size(self.backbone)} or more with --backbone={self.backbone}",
        )
        if self.backbone not in (*APPLICATIONS, *SERIES_BACKBONES):
            require(
                self.weights != "imagenet",
                "weights",
                self.weights,
                f"none or a path with --backbone={self.backbone}, which has no ImageNet weights",
            )
        if self.backbone in SERIES_BACKBONES:
            require(
                self.weights == "none",
                "weights",
                self.weights,
                f"none with --backbone={self.backbone}",
            )


@dataclasses.dataclass(frozen=True)
class SequenceConfig(ConfigPart):
    """The model over the slices of a series."""

    HEADING: ClassVar[str] = "Model over series"

    sequence: str = _image_option(
        "none",
        "Model over series that is trained together with --backbone, end to end: bigru or "
        "transformer on the features of consecutive slices; or a pool, which takes the logits of "
        "an exam from those of its slices and learns from labels of either: attention (gated), "
        "max, noisy_or, or lse, a smooth maximum (docs/exams.md).",
        ("none", *SERIES_BACKBONES),
    )
    slab: int = option(
        9,
        "Slices of a training example with --sequence. bigru and transformer: consecutive ones, an "
        "odd number. Pools: so many of a series, evenly along it, the others in later epochs; 0: "
        "the whole series.",
        within="[0, inf)",
    )
    slice_chunk: int = _bag_option(
        0,
        "Number of slices, with a pool, that the network holds the activations of at once: it "
        "reads each slice twice, and a series of any length takes the memory of so many slices. "
        "Batch normalisation sees a chunk. 0: all slices of a batch at once.",
        within="[0, inf)",
    )
    units: int = option(
        64,
        "Width of a bigru's direction, half the width of a transformer's layer, width of the "
        "attention of a pool.",
        within="[1, inf)",
    )
    layers: int = option(2, "Number of layers of bigru or transformer.", within="[1, inf)")
    exam_weight: float = _exam_option(
        1.0,
        "Weight, with a pool, of the loss of an exam beside the mean loss of its labelled slices.",
        within="[0, inf)",
    )
    instance_weight: float = _exam_option(
        0.5,
        "Weight, with attention and beside exam_weight, of the exam's loss by a smooth maximum of "
        "its slices' logits. Without it attention looks away from slices whose logits are wrong.",
        within="[0, inf)",
    )
    series_weight: float = option(
        0.1,
        "Weight of the loss of a series as a whole beside the mean loss of its slices; "
        "for bigru and transformer.",
        within="[0, inf)",
    )
    reverse: bool = option(
        False,
        "Turn half of the series upside down in training, and average both directions in "
        "prediction; for bigru and transformer.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sequence in POOLS:
            require(
                not self.reverse,
                "reverse",
                self.reverse,
                f"false with {self.sequence} (--noreverse)",
            )
        else:
            require(
                self.slab % 2 == 1 and self.slab > 1,
                "slab",
                self.slab,
                "odd, 3 or more",
            )


@dataclasses.dataclass(frozen=True)
class ScheduleConfig(ConfigPart):
    """Batches and steps, and the epoch after which training ends."""

    HEADING: ClassVar[str] = "Steps and epochs"

    batch_size: int = option(
        32,
        "Slices in an optimizer step, over all replicas and hosts; series, for a --backbone over "
        "series; slabs, or with a pool exams, with --sequence.",
        within="[1, inf)",
    )
    batch_per_replica: int = option(
        0,
        "Batch of each replica: batch_size becomes this times the number of replicas. The learning "
        "rate, which is then meant for the batch_size given, is multiplied by the growth of the "
        "batch, and where it grows there is a warm-up of an epoch, or warmup_epochs. 0: batch_size "
        "stands.",
        within="[0, inf)",
    )
    accumulation: int = option(
        1,
        "Number of parts into which each replica's batch is cut. The parts pass through the "
        "network one after the other and their gradients are added, so that a batch takes the "
        "memory of a part.",
        within="[1, inf)",
    )
    epochs: int = option(5, "Number of passes over the training folds.", within="[1, inf)")
    max_steps_per_epoch: int = option(
        0, "Largest number of steps in an epoch; 0 uses all records.", within="[0, inf)"
    )
    patience: int = option(
        0,
        "Number of epochs without a lower validation loss after which training stops; 0 never "
        "stops early.",
        within="[0, inf)",
    )
    extend: bool = option(
        False,
        "Continue a run, finished or not, whose epochs were fewer or whose patience was another. "
        "The learning rate is that of a run of so many epochs: exponential goes on, cosine rises "
        "to where it would be.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        name = "batch_per_replica" if self.batch_per_replica else "batch_size"
        require(
            getattr(self, name) % self.accumulation == 0,
            name,
            getattr(self, name),
            f"a multiple of accumulation, which is {self.accumulation}",
        )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(ConfigPart):
    """Optimizer, learning rate, and the average of the weights."""

    HEADING: ClassVar[str] = "Optimizer"

    optimizer: str = option(
        "adam",
        "Optimizer. sgd has Nesterov momentum, 0.9; lamb and radam (rectified Adam) come from "
        "tensorflow-addons.",
        OPTIMIZERS,
    )
    lookahead: bool = option(
        False,
        "Every 6 steps, go back half of the way to the weights of 6 steps before (tensorflow-"
        "addons; not with adamw).",
    )
    learning_rate: float = option(
        5e-4, "Learning rate at the start, or at the end of the warm-up.", within="(0, inf)"
    )
    schedule: str = option(
        "exponential",
        "Course of the learning rate. exponential: times lr_decay after each epoch; cosine: falls "
        "to 0 at the end of the last epoch.",
        SCHEDULES,
    )
    lr_decay: float = option(
        0.8, "Factor of the exponential schedule for an epoch.", within="(0, 1]"
    )
    warmup_epochs: float = option(
        0.0,
        "Epochs, or part of one, over which the rate rises from 0 in a straight line.",
        within="[0, inf)",
    )
    weight_decay: float = option(
        0.0,
        "Share of the kernels taken off in a step, times the learning rate. For adamw, "
        "sgd and lamb.",
        within="[0, inf)",
    )
    clip_norm: float = option(
        0.0,
        "Largest global norm of the gradient, over all replicas; a larger gradient is scaled down "
        "to it. 0 never clips.",
        within="[0, inf)",
    )
    ema_decay: float = option(
        0.0,
        "Decay for a step of an exponential moving average of the weights, which is "
        "then validated and saved; less in the first steps. 0 takes the weights themselves.",
        within="[0, 1)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
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


@dataclasses.dataclass(frozen=True)
class FineTuningConfig(ConfigPart):
    """How far the pretrained network may move."""

    HEADING: ClassVar[str] = "Fine-tuning"

    freeze_epochs: int = _image_option(
        0,
        "Number of epochs at the start in which the backbone rests, its batch normalisation "
        "included, and the head alone learns. Then the optimizer starts anew.",
        within="[0, inf)",
    )
    head_lr_multiplier: float = _image_option(
        1.0,
        "Factor of the learning rate for the head: the classifier, and with --sequence the model "
        "over series.",
        within="(0, inf)",
    )
    layer_decay: float = _image_option(
        1.0,
        "Factor of the learning rate for the backbone's first layer. From there it rises to 1 by "
        "the same factor from layer to layer.",
        within="(0, 1]",
    )


@dataclasses.dataclass(frozen=True)
class LossConfig(ConfigPart):
    """The loss, and how much of the slices without a bleed reaches it."""

    HEADING: ClassVar[str] = "Loss and sampling"

    label_smoothing: float = option(
        0.0, "Label smoothing: labels move by half of this towards each other.", within="[0, 1)"
    )
    negative_fraction: float = _slice_option(
        1.0,
        "Share of the slices without a bleed that an epoch reads, drawn anew for each epoch. "
        "The model undoes the change of its probabilities.",
        within="(0, 1]",
    )
    negative_weight: float = _slice_option(
        1.0,
        "Weight in the loss of a slice without a bleed. The model undoes the change "
        "of its probabilities.",
        within="(0, 1]",
    )
    mask_weight: float = _slice_option(
        1.0,
        "Weight of the loss of the masks, cross-entropy and soft Dice, beside that of the slices; "
        "with --segmentation.",
        within="[0, inf)",
    )
    self_training: float = _slice_option(
        0.0,
        "Weight of the loss of masks that heat maps of the network's moving average (--ema_decay) "
        "stand for, in slices that are labelled positive and have no mask; with --segmentation. 0: "
        "none.",
        within="[0, inf)",
    )

    @property
    def negatives_kept(self) -> float:
        """Weight of the slices without a bleed in training, relative to the data, in (0, 1]."""
        return self.negative_fraction * self.negative_weight


@dataclasses.dataclass(frozen=True)
class AugmentationConfig(ConfigPart):
    """Random changes of the training images."""

    HEADING: ClassVar[str] = "Augmentation"

    flip: bool = _image_option(False, "Augmentation: mirror half of the slices left to right.")
    shift: float = _image_option(
        0.0,
        "Augmentation: largest shift along each axis, as a share of the side.",
        within="[0, 1)",
    )
    rotate: float = _image_option(
        0.0, "Augmentation: largest rotation either way, degrees.", within="[0, 180]"
    )
    scale: float = _image_option(
        0.0, "Augmentation: largest change of size either way, as a share.", within="[0, 1)"
    )
    window_jitter: float = _image_option(
        0.0,
        "Augmentation: largest change of the windows' width, as a share, and of their centre, "
        "as a share of 80 HU. For records of encoding hu16.",
        within="[0, 1)",
    )
    cutout: float = _image_option(
        0.0,
        "Augmentation: side of a square that is blackened, as a share of the image's.",
        within="[0, 1)",
    )
    mixup: float = _slice_option(
        0.0,
        "Augmentation: blend each slice and its labels with another slice of the batch, with a "
        "share drawn from Beta(mixup, mixup). 0 blends none.",
        within="[0, inf)",
    )
    flip_z: bool = _slice_option(
        False, "Augmentation: reverse the order of the neighbours of half of the slices."
    )
    augment_operations: int = _image_option(
        0,
        "Augmentation: number of changes of each slice that are chosen at random from ten, each "
        "with a random sign: shifts along both axes, rotation, scale, shear, contrast, brightness, "
        "blur, noise, cutout (RandAugment).",
        within="[0, 10]",
    )
    augment_magnitude: float = _image_option(
        5.0, "Augmentation: strength of augment_operations.", within="[0, 10]"
    )


@dataclasses.dataclass(frozen=True)
class HardwareConfig(ConfigPart):
    """Devices, and how they compute."""

    HEADING: ClassVar[str] = "Hardware"

    strategy: str = option(
        "one",
        "Devices to train on. one: a single device; mirrored: a replica on each of the machine's "
        "GPUs; multi_worker: on each GPU of each host that the environment variable TF_CONFIG "
        "names.",
        STRATEGIES,
    )
    cpu_replicas: int = option(
        0,
        "Number of replicas on the CPU with --strategy=mirrored. 0: a replica on each GPU, or one "
        "on the CPU if there is no GPU.",
        within="[0, inf)",
    )
    mixed_precision: str = option(
        "auto", "Type of the arithmetic; auto chooses by the hardware.", PRECISIONS
    )
    xla: str = option(
        "auto",
        "Compile the step with XLA; auto compiles on GPUs, but for bigru.",
        XLA_CHOICES,
    )
    tf32: bool = option(
        True,
        "Round the factors of float32 products to TF32 on GPUs from Ampere on, which is several "
        "times as fast. false: whole float32.",
    )
    augment_on: str = _image_option(
        "auto",
        "Where batches are augmented: device, by the replicas' devices just before a step; input, "
        "by the host's processors; auto takes GPUs if the run has any. Results are equal but for "
        "rounding.",
        ("auto", DEVICE, INPUT),
    )
    steps_per_execution: int = option(
        1,
        "Steps that go to the devices in one call; more than 1 helps fast GPUs.",
        within="[1, inf)",
    )
    deterministic: bool = option(
        False,
        "Compute the same bits each time on GPUs, too, with slower kernels. CPUs always do.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strategy == "one":
            require(
                self.cpu_replicas <= 1,
                "cpu_replicas",
                self.cpu_replicas,
                "0 or 1 with --strategy=one (use --strategy=mirrored)",
            )


@dataclasses.dataclass(frozen=True)
class OutputConfig(ConfigPart):
    """Files that a run keeps, and its check of itself."""

    HEADING: ClassVar[str] = "What a run keeps and checks"

    checkpoint_steps: int = option(
        1000,
        "Steps between checkpoints; one more is written at each epoch's end.",
        within="[1, inf)",
    )
    keep_epochs: bool = option(
        False,
        "Keep each epoch's weights in work_dir/epochs/, for ich_tf.calibrate --average_epochs.",
    )
    self_check: bool = option(
        True,
        "Before the first step, compare the gradients of the replicas with one device's, and "
        "those with XLA with those without, on a batch.",
    )
    tensorboard: bool = option(True, "Write logs for TensorBoard to work_dir/tensorboard.")
    tracker: str = option(
        "",
        "Function of your own that follows the run, as module:function. It gets the settings and "
        "returns an object with the methods epoch(row) and end(error). Empty: none.",
    )


# In the order of `--help` and config.json.
PARTS: tuple[type[ConfigPart], ...] = (
    RunConfig,
    NetworkConfig,
    SequenceConfig,
    ScheduleConfig,
    OptimizerConfig,
    FineTuningConfig,
    LossConfig,
    AugmentationConfig,
    HardwareConfig,
    OutputConfig,
)
