"""The learning rate of each step: warm-up, then constant, exponential or cosine."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from ich_tf.runtime.keras2 import keras
from ich_tf.training.config import TrainConfig


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

    def rate_of(self, step: int) -> float:
        """Computes the rate of step number `step` on the host, whatever the devices are at."""
        with tf.device("CPU:0"):
            return float(self(step))

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
