"""The loss scale of float16, which follows the gradients."""

from __future__ import annotations

import tensorflow as tf

from ich_tf.runtime.strategies import replica_variable

# As Keras's and Apex's: as high a start as float16's largest value of 65,504 allows, and a new try
# of the double after so many steps.
_FIRST = 2.0**15
_STEPS_TO_DOUBLE = 2000


class LossScale(tf.Module):  # type: ignore[misc]
    """Factor of the loss, by which small gradients stay above float16's smallest number.

    It is halved by each step that has a gradient that is not finite, never below 1, and doubled
    after 2,000 steps in a row without one.

    Attributes:
      value: Factor of the next step, float32 [].
      steps: Number of steps since the last change, int64 [].
    """

    def __init__(self) -> None:
        """Creates the variables; call it under the strategy's scope."""
        super().__init__(name="loss_scale")
        self.value = replica_variable(tf.constant(_FIRST), "value")
        self.steps = replica_variable(tf.constant(0, tf.int64), "steps")

    def update(self, finite: tf.Tensor) -> None:
        """Goes on to the next step's factor, in a replica's context.

        Args:
          finite: Whether all gradients of the step are finite, bool [].
        """
        value, steps = self.value.read_value(), self.steps.read_value() + 1
        doubled = value * 2
        is_due = finite & (steps >= _STEPS_TO_DOUBLE)
        kept = tf.where(is_due & tf.math.is_finite(doubled), doubled, value)
        self.value.assign(tf.where(finite, kept, tf.maximum(value / 2, 1.0)))
        self.steps.assign(tf.where(finite & ~is_due, steps, tf.zeros_like(steps)))
