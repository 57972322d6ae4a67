"""What a run checks of itself: replicas against one device, XLA against none, equal replicas."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.training_step import Gradients, TrainingStep

_LOG = logging.getLogger(__name__)

# Relative difference of the gradients, L2. Sums in another order and other kernels make ResNet50's
# differ by ... in float32 and by ... in bfloat16; a lost or doubled replica by 0.5 and more.
TOLERANCE = {"float32": 0.02, "bfloat16": 0.25, "float16": 0.25}


class SelfCheckError(InputError):
    """Replicas or compiled code do not compute what they should."""


def check_step(
    step: TrainingStep,
    strategy: tf.distribute.Strategy,
    images: Any,
    labels: Any,
    *,
    precision: str,
    xla: bool,
) -> float | None:
    """Compares a step's gradients with those of one device, without XLA, over the same parts.

    The model is left as it was.

    Args:
      step: Before its first step.
      strategy: Its strategy.
      images: As a step takes them.
      labels: Likewise.
      precision: float32, bfloat16 or float16.
      xla: Whether the step is compiled.

    Returns:
      The relative difference, L2; None where there is nothing to compare: one replica, no XLA.

    Raises:
      SelfCheckError: If it is above `TOLERANCE`.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1 and not xla:
        return None
    before = [variable.numpy() for variable in step.statistics]

    def measure(*values: Any, part: int | None) -> Gradients:
        found = step.gradients(*values, part=part)
        for variable, value in zip(step.statistics, before, strict=True):
            variable.assign(value)
        return found

    together = measure(images, labels, part=None)
    parts = [
        measure(*(_everywhere(strategy, value, r) for value in (images, labels)), part=r)
        for r in range(replicas)
    ]
    alone = [tf.add_n(gradients) for gradients in zip(*(p.gradients for p in parts), strict=True)]
    scale = tf.linalg.global_norm(alone)
    difference = tf.linalg.global_norm(
        [a - b for a, b in zip(together.gradients, alone, strict=True)]
    )
    relative = float(difference / tf.maximum(scale, 1e-30))
    # A loss scale that begins too high makes both infinite; the step then leaves itself out.
    if not np.isfinite(float(scale)) and not np.isfinite(
        float(tf.linalg.global_norm(together.gradients))
    ):
        return None
    if not relative <= TOLERANCE[precision]:
        raise SelfCheckError(
            f"the gradients of {replicas} replica(s){', compiled by XLA,' if xla else ''} differ "
            f"from one device's by {relative:.2g} of their norm; {precision} explains "
            f"{TOLERANCE[precision]:g}. Train with --xla=off or --strategy=one, and report it; "
            "--self_check=false trains all the same."
        )
    return relative


def check_replicas(model: tf.keras.Model, strategy: tf.distribute.Strategy) -> None:
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


def _everywhere(strategy: tf.distribute.Strategy, value: Any, replica: int) -> Any:
    """One replica's part of a distributed value, for all of them."""
    part = strategy.experimental_local_results(value)[replica]
    return strategy.experimental_distribute_values_from_function(lambda _: part)
