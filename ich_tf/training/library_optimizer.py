"""Optimizers of tensorflow-addons, which update variables in their own way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ich_tf.errors import ConfigError
from ich_tf.runtime.keras2 import keras
from ich_tf.training.schedule import EpochSchedule


class LibraryOptimizer(tf.Module):  # type: ignore[misc]
    """An optimizer of Keras's legacy kind behind the face of `FusedOptimizer`.

    It changes the variables of all replicas at once, which XLA does not compile.

    Attributes:
      schedule: Learning rate of each step.
      optimizer: The library's optimizer, in Keras's loss scale if it scales losses.
    """

    compiles = False

    def __init__(
        self, optimizer: Any, schedule: EpochSchedule, *, loss_scaling: bool = False
    ) -> None:
        """Wraps an optimizer; call it under the strategy's scope.

        Args:
          optimizer: The library's optimizer, with decay for kernels alone.
          schedule: Learning rate of each step, as given to `optimizer`.
          loss_scaling: Whether to keep a loss scale, as float16 needs.
        """
        super().__init__()
        self.schedule = schedule
        self._scales = loss_scaling
        if loss_scaling:
            optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
        self.optimizer = optimizer

    @property
    def iterations(self) -> tf.Variable:
        """Number of steps taken, int64 []."""
        return self.optimizer.iterations

    def build(
        self,
        variables: Sequence[tf.Variable],
        lr_multipliers: Sequence[float],
        decays: Sequence[bool],
    ) -> None:
        """Creates the state of a model's variables; see `FusedOptimizer.build`.

        Raises:
          ConfigError: If a factor is not 1.
        """
        if set(lr_multipliers) - {1.0}:
            raise ConfigError(
                "factors of the learning rate need --optimizer=adam, adamw or sgd, without "
                "--lookahead: the optimizers of tensorflow-addons know none."
            )
        # This property makes the counter at its first use.
        _ = self.optimizer.iterations
        self.optimizer._create_all_weights(variables)

    def restart(self) -> None:
        """Forgets the moments; configs ask no library for it."""
        raise NotImplementedError("The optimizers of tensorflow-addons do not restart.")

    @property
    def scale(self) -> tf.Tensor | None:
        """Factor of the next step's loss, float32 []; None without a loss scale."""
        if not self._scales:
            return None
        # Keras warns of a false result unless both of these were called.
        self.optimizer.get_unscaled_gradients([])
        return self.optimizer.get_scaled_loss(tf.ones([]))

    def apply(
        self,
        gradients: Sequence[tf.Tensor],
        variables: Sequence[tf.Variable],
        finite: tf.Tensor | None = None,
    ) -> None:
        """Takes a step in a replica's context; see `FusedOptimizer.apply`.

        Args:
          gradients: Gradients, summed over all replicas, without the loss scale.
          variables: The variables of `build`.
          finite: Whether the gradients are finite, bool []; None under no loss scale.
        """
        if finite is not None:
            # The library looks for itself whether gradients are finite.
            poison = tf.where(finite, 0.0, float("nan"))
            gradients = [gradients[0] + poison, *gradients[1:]]
        pairs = zip(gradients, variables, strict=True)
        self.optimizer.apply_gradients(pairs, experimental_aggregate_gradients=False)
