"""Checks of a run's first step: replicas against one device, XLA against none."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.training.step import Gradients, TrainingStep
from ich_tf.training.weight_check import SelfCheckError

# Largest relative difference of two gradients, L2.
# Replicas and one device run the same code: on CPUs they differ by less than 1e-6; GPUs add in an
# order of their own. A lost or doubled replica differs by 0.5 and more.
REPLICA_TOLERANCE = {"float32": 0.02, "bfloat16": 0.25, "float16": 0.25}
# XLA and TensorFlow's kernels round at other places: ResNet50 differs by 0.005 in float32 and by
# 0.04 in bfloat16; EfficientNet-B4, from random weights, by 0.0001 and by 0.8, where bfloat16
# itself is 0.65 away from float32 with either.
XLA_TOLERANCE = {"float32": 0.02, "bfloat16": 0.95, "float16": 0.95}
# Largest relative difference of two losses; 0.003 was measured in bfloat16.
LOSS_TOLERANCE = {"float32": 0.002, "bfloat16": 0.03, "float16": 0.03}


def check_step(
    step: TrainingStep,
    strategy: tf.distribute.Strategy,
    inputs: Any,
    labels: Any,
    *,
    precision: str,
    xla: bool,
) -> dict[str, float]:
    """Compares a step's gradients with one device's over the same parts, and with those of no XLA.

    The model stays as it was.

    Args:
      step: A step before its first call.
      strategy: Strategy of the step.
      inputs: Distributed inputs of a batch, as a step takes them.
      labels: Distributed labels of the batch.
      precision: float32, bfloat16 or float16.
      xla: Whether the step is compiled.

    Returns:
      Relative difference of the gradients, L2, by comparison: `replicas`, if there are several, and
      `xla`, if it is on. Empty if a gradient is not finite, as under a loss scale that begins too
      high.

    Raises:
      SelfCheckError: If a difference is above its tolerance.
    """
    replicas = strategy.num_replicas_in_sync
    differences: dict[str, float] = {}
    # One part would be normalised by itself alone, with `sync_bn` by all.
    if step.sync_bn or (replicas == 1 and not xla):
        return differences
    probe = _Probe(step, strategy, inputs, labels)
    first = probe.measure(0)
    if not _is_finite(first.gradients):
        return differences
    if replicas > 1:
        parts = [first, *(probe.measure(part) for part in range(1, replicas))]
        one_device = tf.add_n([part.gradients for part in parts])
        if not _is_finite(one_device):
            return differences
        difference = _relative_difference(probe.measure(None).gradients, one_device)
        differences["replicas"] = difference
        _require(
            difference <= REPLICA_TOLERANCE[precision],
            f"the gradients of {replicas} replicas differ from one device's by "
            f"{difference:.2g} of their norm",
            "--strategy=one",
        )
    if xla:
        plain = probe.measure(0, compiled=False)
        difference = _relative_difference(first.gradients, plain.gradients)
        differences["xla"] = difference
        loss = abs(float(first.loss / plain.loss) - 1)
        _require(
            difference <= XLA_TOLERANCE[precision] and loss <= LOSS_TOLERANCE[precision],
            f"XLA's gradients differ from those without it by {difference:.2g} of their norm, "
            f"and its loss by {loss:.2g}, more than {precision} explains",
            "--xla=off",
        )
    return differences


class _Probe:
    """Gradients of a step on one batch, which leave the moving statistics as they were."""

    def __init__(
        self, step: TrainingStep, strategy: tf.distribute.Strategy, inputs: Any, labels: Any
    ) -> None:
        self._step, self._strategy = step, strategy
        self._batch = (inputs, labels)
        self._statistics = [variable.numpy() for variable in step.statistics]

    def measure(self, part: int | None, compiled: bool = True) -> Gradients:
        """Computes the gradients of one replica's part on every replica, or of the whole batch.

        Args:
          part: Index of the replica; None for the whole batch.
          compiled: Whether XLA compiles, if it does for a step; False needs a `part`.
        """
        batch = self._batch
        if part is not None:
            batch = tuple(_everywhere(self._strategy, value, part) for value in batch)
        gradients = self._step.gradients(*batch, part=part, compiled=compiled)
        for variable, value in zip(self._step.statistics, self._statistics, strict=True):
            variable.assign(value)
        return gradients


def _is_finite(gradients: tf.Tensor) -> bool:
    return bool(np.isfinite(float(tf.norm(gradients))))


def _relative_difference(left: tf.Tensor, right: tf.Tensor) -> float:
    """Norm of the difference, as a share of the norm of `right`."""
    return float(tf.norm(left - right) / tf.maximum(tf.norm(right), 1e-30))


def _require(holds: bool, problem: str, instead: str) -> None:
    # Comparisons with NaN are false, so that NaN is a problem as well.
    if not holds:
        raise SelfCheckError(
            f"self-check: {problem}. Train with {instead}, and report it with run.json; "
            "--self_check=false trains all the same."
        )


def _everywhere(strategy: tf.distribute.Strategy, value: Any, replica: int) -> Any:
    """Gives every replica one replica's part of a distributed value."""
    part = strategy.experimental_local_results(value)[replica]
    return strategy.experimental_distribute_values_from_function(lambda _: part)
