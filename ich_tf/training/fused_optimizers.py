"""Adam, AdamW and SGD, whose update of a variable is one kernel or a few.

They compute what Keras's optimizers of the same names compute. Keras's build a dozen operations
for each variable, a quarter of them the same scalars over and over: 4,600 for ResNet50. These run
on a replica's own variables, so that XLA can compile them with the rest of the step.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from ich_tf.runtime.strategies import replica_variable
from ich_tf.training.loss_scale import LossScale
from ich_tf.training.schedule import EpochSchedule

# Keras's defaults.
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7
_MOMENTUM = 0.9


class FusedOptimizer(tf.Module, abc.ABC):  # type: ignore[misc]
    """An optimizer of a model's variables, each replica by itself with the same gradients.

    Attributes:
      schedule: Learning rate of each step.
      iterations: Number of steps, those that were left out included, int64 [].
      restarted: Number of steps when the state was last all 0, int64 [].
      loss_scale: Loss scale, or None.
      slots: For each variable its state, such as its momentum, like the variable.
    """

    # Number of variables in the state of each variable.
    _NUM_SLOTS = 1
    # XLA may compile `apply`.
    compiles = True

    def __init__(
        self, schedule: EpochSchedule, *, weight_decay: float = 0.0, loss_scaling: bool = False
    ) -> None:
        """Creates the variables that are not of a model; call it under the strategy's scope.

        Args:
          schedule: Learning rate of each step.
          weight_decay: Share taken off the decayed variables in a step, times the learning rate.
          loss_scaling: Whether to keep a loss scale, as float16 needs.
        """
        super().__init__()
        self.schedule, self._weight_decay = schedule, weight_decay
        self.iterations = replica_variable(tf.constant(0, tf.int64), "iterations")
        self.restarted = replica_variable(tf.constant(0, tf.int64), "restarted")
        self.loss_scale = LossScale() if loss_scaling else None
        self.slots: list[list[tf.Variable]] = []
        # Place of a variable in `slots`, factor of its learning rate, and whether it decays. No
        # dict: a module would take that for a part of its checkpoint.
        self._rows: Mapping[Any, tuple[int, float, bool]] = MappingProxyType({})

    def build(
        self,
        variables: Sequence[tf.Variable],
        lr_multipliers: Sequence[float],
        decays: Sequence[bool],
    ) -> None:
        """Creates the state of a model's variables; call it under the strategy's scope.

        Args:
          variables: Trainable variables of the model, float32.
          lr_multipliers: Factor of the learning rate for each variable.
          decays: Whether weight decay reaches each variable.
        """
        columns = zip(variables, lr_multipliers, decays, strict=True)
        rows = {
            variable.ref(): (place, factor, is_decayed)
            for place, (variable, factor, is_decayed) in enumerate(columns)
        }
        self._rows = MappingProxyType(rows)
        self.slots = [
            [
                replica_variable(tf.zeros(variable.shape), f"slot_{number}_{slot}")
                for slot in range(self._NUM_SLOTS)
            ]
            for number, variable in enumerate(variables)
        ]

    @property
    def scale(self) -> tf.Tensor | None:
        """Factor of the next step's loss, float32 []; None without a loss scale."""
        return None if self.loss_scale is None else self.loss_scale.value.read_value()

    def apply(
        self,
        gradients: Sequence[tf.Tensor],
        variables: Sequence[tf.Variable],
        finite: tf.Tensor | None = None,
    ) -> None:
        """Takes a step in a replica's context, on the replica's own variables.

        Args:
          gradients: Gradients, summed over all replicas, without the loss scale.
          variables: Variables of `build`, all of them or those that do not rest.
          finite: Whether the gradients are finite, bool []. Where they are not, they must be 0, and
            the step changes the loss scale alone. None under no loss scale.
        """
        rate = self.schedule(self.iterations.read_value())
        kept = tf.ones([]) if finite is None else tf.cast(finite, tf.float32)
        rows = [self._rows[variable.ref()] for variable in variables]
        rates = {factor: rate * factor * kept for _, factor, _ in rows}
        scalars = self._scalars(kept)
        for gradient, variable, (place, factor, decays) in zip(
            gradients, variables, rows, strict=True
        ):
            # The handle is the replica's own; `assign` would ask for all replicas' at once.
            handle, variable_rate = variable.handle, rates[factor]
            if decays and self._weight_decay:
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=handle,
                    alpha=variable_rate * self._weight_decay,
                    delta=variable.read_value(),
                )
            slots = [slot.handle for slot in self.slots[place]]
            self._move(handle, gradient, slots, variable_rate, scalars)
        self.iterations.assign_add(1)
        if self.loss_scale is not None:
            self.loss_scale.update(finite)

    def restart(self) -> None:
        """Forgets the moments; the learning rate goes on in its course."""
        for slot in (slot for slots in self.slots for slot in slots):
            slot.assign(tf.zeros(slot.shape))
        self.restarted.assign(self.iterations.read_value())

    def _scalars(self, kept: tf.Tensor) -> Sequence[tf.Tensor]:
        """Numbers that all variables' updates share.

        Those of a step that is left out change nothing, given gradients and a rate of 0.

        Args:
          kept: 1, or 0 for a step that is left out, float32 [].
        """
        return [kept]

    @abc.abstractmethod
    def _move(
        self,
        variable: tf.Tensor,
        gradient: tf.Tensor,
        slots: Sequence[tf.Tensor],
        rate: tf.Tensor,
        scalars: Sequence[tf.Tensor],
    ) -> None:
        """Updates a variable and its state, given their resource handles."""


class Adam(FusedOptimizer):
    """Adam; with a weight decay AdamW. The slots are the moments of first and second order."""

    _NUM_SLOTS = 2

    def _scalars(self, kept: tf.Tensor) -> Sequence[tf.Tensor]:
        count = self.iterations.read_value() - self.restarted.read_value() + 1
        step = tf.cast(count, tf.float32)
        betas = [tf.constant(_BETA_1), tf.constant(_BETA_2)]
        powers = [tf.pow(beta, step) for beta in betas]
        # A moment is left as it is by a beta of 1.
        return [*powers, *(1 - (1 - beta) * kept for beta in betas)]

    def _move(
        self,
        variable: tf.Tensor,
        gradient: tf.Tensor,
        slots: Sequence[tf.Tensor],
        rate: tf.Tensor,
        scalars: Sequence[tf.Tensor],
    ) -> None:
        beta_1_power, beta_2_power, beta_1, beta_2 = scalars
        tf.raw_ops.ResourceApplyAdam(
            var=variable,
            m=slots[0],
            v=slots[1],
            beta1_power=beta_1_power,
            beta2_power=beta_2_power,
            lr=rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=_EPSILON,
            grad=gradient,
        )


class NesterovSgd(FusedOptimizer):
    """Stochastic gradient descent with Nesterov momentum. The slot is the velocity.

    Attributes:
      momentum: Share of the velocity that a step keeps.
    """

    momentum = _MOMENTUM

    def _scalars(self, kept: tf.Tensor) -> Sequence[tf.Tensor]:
        return [1 - (1 - self.momentum) * kept, self.momentum * kept]

    def _move(
        self,
        variable: tf.Tensor,
        gradient: tf.Tensor,
        slots: Sequence[tf.Tensor],
        rate: tf.Tensor,
        scalars: Sequence[tf.Tensor],
    ) -> None:
        kept_velocity, look_ahead = scalars
        change = gradient * rate
        velocity = tf.raw_ops.ReadVariableOp(resource=slots[0], dtype=tf.float32)
        velocity = velocity * kept_velocity - change
        tf.raw_ops.AssignVariableOp(resource=slots[0], value=velocity)
        tf.raw_ops.AssignAddVariableOp(resource=variable, value=velocity * look_ahead - change)
