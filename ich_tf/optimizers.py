"""The optimizers and the learning rate's course over a run."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from ich_tf.config import TrainConfig

_SGD_MOMENTUM = 0.9


class EpochSchedule(tf.keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """The rate of each step: a straight warm-up, then constant, exponential or cosine.

    `exponential` steps down after each whole epoch, as the published ResNet50 recipe does
    (5e-4 * 0.8^epoch); `cosine` reaches 0 at the end of the last epoch.

    Attributes:
      schedule: One of `config.SCHEDULES`.
      rate: At the warm-up's end.
      steps_per_epoch: Of the optimizer.
      epochs: Of the whole run.
      decay: The exponential schedule's factor an epoch.
      warmup_epochs: May be a part of one.
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
        """The rate of step number `step`, counted from 0; float32 []."""
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
            # The first step, too, moves: from (0 + 1) steps on.
            warm = (epoch + 1 / self.steps_per_epoch) / self.warmup_epochs
            factor *= tf.minimum(warm, 1.0)
        return tf.cast(self.rate * factor, tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Keras's config."""
        return {
            "schedule": self.schedule,
            "rate": self.rate,
            "steps_per_epoch": self.steps_per_epoch,
            "epochs": self.epochs,
            "decay": self.decay,
            "warmup_epochs": self.warmup_epochs,
        }


def make_optimizer(
    config: TrainConfig, steps_per_epoch: int, *, loss_scaling: bool = False
) -> tf.keras.optimizers.Optimizer:
    """Makes a run's optimizer; call it under the strategy's scope.

    Clipping is the training step's, since it must follow the reduction over replicas.

    Args:
      config: Its `optimizer`, `learning_rate`, schedule and `weight_decay` count.
      steps_per_epoch: Optimizer steps.
      loss_scaling: Wraps the optimizer in Keras's dynamic loss scale, as float16 needs:
        a step with a gradient that is not finite is skipped and the scale halved.
    """
    schedule = EpochSchedule(
        config.schedule,
        config.learning_rate,
        steps_per_epoch,
        config.epochs,
        config.lr_decay,
        config.warmup_epochs,
    )
    # jit_compile would compile the update on GPUs, which the mirrored strategy cannot.
    common: dict[str, Any] = {"learning_rate": schedule, "jit_compile": False}
    optimizers = tf.keras.optimizers
    decay = config.weight_decay or None
    if config.optimizer == "adam":
        optimizer = optimizers.Adam(**common)
    elif config.optimizer == "adamw":
        optimizer = optimizers.AdamW(weight_decay=config.weight_decay, **common)
    else:
        optimizer = optimizers.SGD(
            momentum=_SGD_MOMENTUM, nesterov=True, weight_decay=decay, **common
        )
    if decay:
        # Biases and batch normalisation's scale and shift: pulling them to 0 regularizes
        # nothing.
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if loss_scaling:
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer
