"""Check of the weights before they are saved: finite, and the same on every replica."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.runtime.keras2 import keras
from ich_tf.training.flat import flatten, unflatten


class SelfCheckError(InputError):
    """Replicas or compiled code do not compute what they should."""


class WeightFlaws(NamedTuple):
    """Result of a check.

    Attributes:
      not_finite: Names of the variables that hold a value that is not finite.
      unequal: Names of the variables that differ between the replicas.
    """

    not_finite: list[str]
    unequal: list[str]

    def require_equal(self) -> None:
        """Raises SelfCheckError if a variable differs between the replicas."""
        if self.unequal:
            raise SelfCheckError(
                f"{self.unequal[0]} differs between the replicas. Train with --strategy=one, and "
                "report it; the last checkpoint is good."
            )


class WeightCheck:
    """Check of a model's variables in one call to the devices, whose result is read once."""

    def __init__(self, model: keras.Model, strategy: tf.distribute.Strategy) -> None:
        """Stores the arguments.

        Args:
          model: The model.
          strategy: Its strategy.
        """
        self._strategy = strategy
        self._variables = [v for v in model.variables if v.dtype.is_floating]
        self._measure = tf.function(self._measure_flaws, autograph=False)

    def __call__(self) -> WeightFlaws:
        """Checks the present values."""
        not_finite, unequal = self._measure().numpy()
        names = [variable.name for variable in self._variables]
        return WeightFlaws(
            [name for name, flaw in zip(names, not_finite, strict=True) if flaw],
            [name for name, flaw in zip(names, unequal, strict=True) if flaw],
        )

    def _measure_flaws(self) -> tf.Tensor:
        flaws = self._strategy.run(self._replica_flaws)
        return self._strategy.experimental_local_results(flaws)[0]

    def _replica_flaws(self) -> tf.Tensor:
        """Number of replicas with each flaw, by variable; float32 [2, variables]."""
        replica = tf.distribute.get_replica_context()
        values = [variable.read_value() for variable in self._variables]
        finite = [tf.reduce_all(tf.math.is_finite(value)) for value in values]
        if replica.num_replicas_in_sync == 1:
            return tf.cast([[~flag for flag in finite], [False] * len(values)], tf.float32)
        vector = flatten(values)
        # Nothing is added to the first replica's values, so that all see its very bits.
        is_first = tf.equal(replica.replica_id_in_sync_group, 0)
        share = tf.where(is_first, vector, tf.zeros_like(vector))
        first = replica.all_reduce(tf.distribute.ReduceOp.SUM, share)
        equal = (vector == first) | (tf.math.is_nan(vector) & tf.math.is_nan(first))
        pieces = unflatten(equal, self._variables)
        flags = [[~flag for flag in finite], [~tf.reduce_all(piece) for piece in pieces]]
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(flags, tf.float32))
