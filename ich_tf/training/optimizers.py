"""Optimizers, and the course of the learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ich_tf.errors import UsageError
from ich_tf.runtime.addons import load_addons
from ich_tf.runtime.keras2 import keras
from ich_tf.training.config import TrainConfig

_SGD_MOMENTUM = 0.9
# Weight decay leaves out biases and batch normalisation's scale and shift: pulling them to 0
# regularizes nothing.
_NO_DECAY = ("bias", "gamma", "beta")


class EpochSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Learning rate of each step: a straight warm-up, then constant, exponential or cosine.

    `exponential` steps down after each whole epoch, as the published ResNet50 recipe does
    (5e-4 * 0.8^epoch); `cosine` reaches 0 at the end of the last epoch.

    Attributes:
      schedule: Name of the schedule, one of `config_parts.SCHEDULES`.
      rate: Learning rate at the end of the warm-up.
      steps_per_epoch: Optimizer steps in an epoch.
      epochs: Number of epochs of the whole run.
      decay: Factor of the exponential schedule for an epoch.
      warmup_epochs: Epochs of the warm-up, or part of one.
    """

    def __init__(
        self,
        schedule: str,
        rate: float,
        steps_per_epoch: int,
        epochs: int,
        decay: float = 1.0,
        warmup_epochs: float = 0.0,
    ) -> None:
        super().__init__()
        if steps_per_epoch < 1:
            raise ValueError(f"steps_per_epoch is {steps_per_epoch}; expected 1 or more.")
        self.schedule = schedule
        self.rate = rate
        self.steps_per_epoch = steps_per_epoch
        self.epochs = epochs
        self.decay = decay
        self.warmup_epochs = warmup_epochs

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """Computes the rate of step number `step`, counted from 0; float32 []."""
        # float64: float32 counts steps up to 2^24 alone, and the division must not round an
        # epoch's first step down into the epoch before.
        epoch = tf.cast(step, tf.float64) / self.steps_per_epoch
        if self.schedule == "exponential":
            factor = tf.pow(tf.constant(self.decay, tf.float64), tf.floor(epoch))
        elif self.schedule == "cosine":
            done = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
            factor = 0.5 * (1 + tf.cos(math.pi * tf.clip_by_value(done, 0.0, 1.0)))
        else:
            factor = tf.ones([], tf.float64)
        if self.warmup_epochs:
            # Counted from (0 + 1) steps, so that the first step moves, too.
            warm = (epoch + 1 / self.steps_per_epoch) / self.warmup_epochs
            factor *= tf.minimum(warm, 1.0)
        return tf.cast(self.rate * factor, tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor, as Keras asks for."""
        return {
            "schedule": self.schedule,
            "rate": self.rate,
            "steps_per_epoch": self.steps_per_epoch,
            "epochs": self.epochs,
            "decay": self.decay,
            "warmup_epochs": self.warmup_epochs,
        }


def make_schedule(config: TrainConfig, steps_per_epoch: int) -> EpochSchedule:
    """Makes the schedule of a run's learning rate."""
    return EpochSchedule(
        config.schedule,
        config.learning_rate,
        steps_per_epoch,
        config.epochs,
        config.lr_decay,
        config.warmup_epochs,
    )


def make_optimizer(config: TrainConfig, steps_per_epoch: int, *, loss_scaling: bool = False) -> Any:
    """Makes a run's optimizer; call it under the strategy's scope.

    Clipping is the training step's, since it must follow the reduction over replicas.

    Args:
      config: Config of the run; its `OptimizerConfig` and `epochs` are read.
      steps_per_epoch: Optimizer steps in an epoch.
      loss_scaling: Whether to wrap the optimizer in Keras's dynamic loss scale, as float16 needs:
        a step with a gradient that is not finite is skipped and the scale halved.

    Returns:
      A Keras optimizer; of the legacy kind if it comes from tensorflow-addons.

    Raises:
      UsageError: If the config asks for tensorflow-addons where there is none.
    """
    optimizer = _make(config, make_schedule(config, steps_per_epoch))
    if loss_scaling:
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


def create_variables(optimizer: Any, variables: Sequence[tf.Variable]) -> None:
    """Makes an optimizer's variables; call it before a function that uses them is traced."""
    if _is_legacy(optimizer):
        # This property makes the counter at its first use.
        _ = optimizer.iterations
        optimizer._create_all_weights(variables)
    else:
        optimizer.build(variables)


def apply_gradients(
    optimizer: Any, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]
) -> None:
    """Takes the optimizer's step on a replica, with gradients summed over all replicas already."""
    pairs = zip(gradients, variables, strict=True)
    if _is_legacy(optimizer):
        optimizer.apply_gradients(pairs, experimental_aggregate_gradients=False)
    else:
        optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)


def scales_loss(optimizer: Any) -> bool:
    """Whether `make_optimizer` made it with `loss_scaling`."""
    return hasattr(optimizer, "get_unscaled_gradients")


def _make(config: TrainConfig, schedule: EpochSchedule) -> Any:
    if config.optimizer in ("lamb", "radam") or config.lookahead:
        return _make_legacy(config, schedule)
    # jit_compile would compile the update on GPUs, which the mirrored strategy cannot.
    common: dict[str, Any] = {"learning_rate": schedule, "jit_compile": False}
    optimizers = keras.optimizers
    if config.optimizer == "adam":
        return optimizers.Adam(**common)
    if config.optimizer == "adamw":
        optimizer = optimizers.AdamW(weight_decay=config.weight_decay, **common)
    else:
        optimizer = optimizers.SGD(
            momentum=_SGD_MOMENTUM,
            nesterov=True,
            weight_decay=config.weight_decay or None,
            **common,
        )
    if config.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=list(_NO_DECAY))
    return optimizer


def _make_legacy(config: TrainConfig, schedule: EpochSchedule) -> Any:
    addons = load_addons()
    if addons is None:
        flag = "--lookahead" if config.lookahead else f"--optimizer={config.optimizer}"
        raise UsageError(
            f"{flag} is tensorflow-addons', which TensorFlow {tf.__version__} does not have. Use "
            "--optimizer=adamw, with --warmup_epochs and --ema_decay, or TensorFlow 2.15."
        )
    legacy = keras.optimizers.legacy
    if config.optimizer == "lamb":
        optimizer = addons.optimizers.LAMB(
            learning_rate=schedule,
            weight_decay=config.weight_decay,
            exclude_from_weight_decay=list(_NO_DECAY),
            exclude_from_layer_adaptation=list(_NO_DECAY),
        )
    elif config.optimizer == "radam":
        optimizer = addons.optimizers.RectifiedAdam(learning_rate=schedule)
    elif config.optimizer == "adam":
        optimizer = legacy.Adam(learning_rate=schedule)
    else:
        optimizer = legacy.SGD(learning_rate=schedule, momentum=_SGD_MOMENTUM, nesterov=True)
    return addons.optimizers.Lookahead(optimizer) if config.lookahead else optimizer


def _is_legacy(optimizer: Any) -> bool:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return isinstance(inner, keras.optimizers.legacy.Optimizer)
