"""What a run checks of itself: replicas against one device, XLA against none, equal replicas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.runtime.keras2 import keras
from ich_tf.training.step import Gradients, TrainingStep

# Relative difference of two gradients, L2.
# Replicas and one device run the same code: on CPUs they differ by less than 1e-6; GPUs add in an
# order of their own. A lost or doubled replica differs by 0.5 and more.
REPLICA_TOLERANCE = {"float32": 0.02, "bfloat16": 0.25, "float16": 0.25}
# XLA and TensorFlow's kernels round at other places: ResNet50 differs by 0.005 in float32 and by
# 0.04 in bfloat16; EfficientNet-B4, from random weights, by 0.0001 and by 0.8, where bfloat16
# itself is 0.65 away from float32 with either.
XLA_TOLERANCE = {"float32": 0.02, "bfloat16": 0.95, "float16": 0.95}
# Of the loss, relative: 0.003 in bfloat16.
LOSS_TOLERANCE = {"float32": 0.002, "bfloat16": 0.03, "float16": 0.03}


class SelfCheckError(InputError):
    """Replicas or compiled code do not compute what they should."""


def check_step(
    step: TrainingStep,
    strategy: tf.distribute.Strategy,
    inputs: Any,
    labels: Any,
    *,
    precision: str,
    xla: bool,
) -> dict[str, float]:
    """Compares a step's gradients with those of one device over the same parts, and of no XLA.

    The model is left as it was.

    Args:
      step: Before its first step.
      strategy: Its strategy.
      inputs: As a step takes them.
      labels: Likewise.
      precision: float32, bfloat16 or float16.
      xla: Whether the step is compiled.

    Returns:
      The relative difference, L2, by what was compared: `replicas`, if there are several, and
      `xla`, if it is on. A loss scale that begins too high compares nothing.

    Raises:
      SelfCheckError: If one is above its tolerance.
    """
    replicas = strategy.num_replicas_in_sync
    before = [variable.numpy() for variable in step.statistics]

    def measure(part: int | None, compiled: bool = True) -> Gradients:
        given = (inputs, labels)
        if part is not None:
            given = tuple(_everywhere(strategy, value, part) for value in given)
        measured = step.gradients(*given, part=part, compiled=compiled)
        for variable, value in zip(step.statistics, before, strict=True):
            variable.assign(value)
        return measured

    found: dict[str, float] = {}
    if replicas == 1 and not xla:
        return found
    first = measure(0)
    if not np.isfinite(float(tf.linalg.global_norm(first.gradients))):
        return found
    if replicas > 1:
        parts = [first, *(measure(part) for part in range(1, replicas))]
        alone = [tf.add_n(values) for values in zip(*(p.gradients for p in parts), strict=True)]
        if not np.isfinite(float(tf.linalg.global_norm(alone))):
            return found
        found["replicas"] = _relative(measure(None).gradients, alone)
        _require(
            found["replicas"] <= REPLICA_TOLERANCE[precision],
            f"the gradients of {replicas} replicas differ from one device's by "
            f"{found['replicas']:.2g} of their norm",
            "--strategy=one",
        )
    if xla:
        plain = measure(0, compiled=False)
        found["xla"] = _relative(first.gradients, plain.gradients)
        loss = abs(float(first.loss / plain.loss) - 1)
        _require(
            found["xla"] <= XLA_TOLERANCE[precision] and loss <= LOSS_TOLERANCE[precision],
            f"XLA's gradients differ from those without it by {found['xla']:.2g} of their norm, "
            f"and its loss by {loss:.2g}, more than {precision} explains",
            "--xla=off",
        )
    return found


def check_replicas(model: keras.Model, strategy: tf.distribute.Strategy) -> None:
    """Checks that every replica holds the same weights and moving statistics.

    Raises:
      SelfCheckError: If a variable differs by a bit.
    """
    if strategy.num_replicas_in_sync == 1:
        return
    for variable in model.variables:
        first, *others = (one.numpy() for one in strategy.experimental_local_results(variable))
        if not all(np.array_equal(first, other, equal_nan=True) for other in others):
            raise SelfCheckError(
                f"{variable.name} differs between the replicas. Train with --strategy=one, and "
                "report it; the last checkpoint is good."
            )


def _relative(left: Sequence[tf.Tensor], right: Sequence[tf.Tensor]) -> float:
    """The norm of the difference, of the norm of `right`."""
    difference = tf.linalg.global_norm([a - b for a, b in zip(left, right, strict=True)])
    return float(difference / tf.maximum(tf.linalg.global_norm(right), 1e-30))


def _require(holds: bool, found: str, instead: str) -> None:
    # A NaN holds nothing.
    if not holds:
        raise SelfCheckError(
            f"self-check: {found}. Train with {instead}, and report it with run.json; "
            "--self_check=false trains all the same."
        )


def _everywhere(strategy: tf.distribute.Strategy, value: Any, replica: int) -> Any:
    """One replica's part of a distributed value, for all of them."""
    part = strategy.experimental_local_results(value)[replica]
    return strategy.experimental_distribute_values_from_function(lambda _: part)
