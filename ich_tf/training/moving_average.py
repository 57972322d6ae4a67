"""The exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import tensorflow as tf

from ich_tf.runtime.strategies import replica_variable

# The average begins as short as this many steps over the steps so far: the initial weights would
# weigh on it for long (as tf.train.ExponentialMovingAverage's num_updates).
_WARM_UP = 10.0


class MovingAverage:
    """Average of variables over the steps, kept on each replica.

    Attributes:
      averages: The average of each variable; empty if the decay is 0.
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        decay: float,
        keep_in: Sequence[tf.Variable] = (),
    ) -> None:
        """Starts from the variables' values; call it under the strategy's scope.

        Args:
          variables: Variables of a model.
          decay: Decay for a step, in [0, 1); 0 keeps no average.
          keep_in: Variables of a second model of the same kind, which become the averages; empty
            makes variables for them.
        """
        self._variables, self._decay = list(variables) if decay else [], decay
        self.averages = list(keep_in) or [
            replica_variable(variable, f"average_{number}")
            for number, variable in enumerate(self._variables)
        ]
        if keep_in:
            for average, variable in zip(self.averages, self._variables, strict=True):
                average.assign(variable.read_value())

    def update(self, steps: tf.Tensor) -> None:
        """Adds the variables' present values, in a replica's context.

        Args:
          steps: Number of steps taken, int64 [].
        """
        if not self.averages:
            return
        steps = tf.cast(steps, tf.float32)
        decay = tf.minimum(self._decay, (1 + steps) / (_WARM_UP + steps))
        for average, variable in zip(self.averages, self._variables, strict=True):
            tf.raw_ops.ResourceApplyGradientDescent(
                var=average.handle,
                alpha=1 - decay,
                delta=average.read_value() - variable.read_value(),
            )

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts the average, if there is one, into the variables for the time of a block."""
        values = [variable.numpy() for variable in self._variables]
        for variable, average in zip(self._variables, self.averages, strict=True):
            variable.assign(average.read_value())
        try:
            yield
        finally:
            for variable, value in zip(self._variables, values, strict=True):
                variable.assign(value)
