"""Where replicas run: one device, or a replica on each of several."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ich_tf.config import STRATEGIES
from ich_tf.errors import UsageError


def make_strategy(name: str, cpu_replicas: int = 0) -> tf.distribute.Strategy:
    """Makes the strategy under whose scope a run's variables are created.

    Args:
      name: `one`: the first GPU, or the CPU where there is none. `mirrored`: a replica on
        each GPU, gradients summed over all.
      cpu_replicas: With `mirrored`, so many replicas on logical devices of the CPU, GPUs
        or not. 0: the GPUs, or one replica on the CPU where there is none.

    Raises:
      UsageError: If TensorFlow has started with fewer logical CPU devices; they can be
        configured only before its first operation.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy is {name!r}; expected one of {', '.join(STRATEGIES)}.")
    gpus = tf.config.list_physical_devices("GPU")
    if name == "one":
        return tf.distribute.OneDeviceStrategy("GPU:0" if gpus and not cpu_replicas else "CPU:0")
    if gpus and not cpu_replicas:
        return tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(len(gpus))])
    replicas = max(1, cpu_replicas)
    _ensure_logical_cpus(replicas)
    # TensorFlow's default, collective operations, numbers them anew in each strategy: a second
    # strategy of the process then meets the first one's, fails with "Shape mismatch in the
    # collective instance" and leaves all later ones aborted.
    return tf.distribute.MirroredStrategy(
        [f"CPU:{i}" for i in range(replicas)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def split_batch(strategy: tf.distribute.Strategy, *batch: tf.Tensor) -> tuple[Any, ...]:
    """Gives each replica an equal, contiguous part of a batch.

    Instead of `experimental_distribute_dataset`: that one fetches to each device through an
    iterator of its own, whose autotuner holds up the end of every epoch for up to a minute
    (TensorFlow 2.15).

    Args:
      strategy: The replicas.
      *batch: Eager tensors [n, ...]; the number of replicas divides n.

    Returns:
      A distributed value for each tensor, to be given to `strategy.run`.
    """
    share = len(batch[0]) // strategy.num_replicas_in_sync

    def part(tensor: tf.Tensor) -> Any:
        def local_part(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            start = context.replica_id_in_sync_group * share
            return tensor[start : start + share]

        return strategy.experimental_distribute_values_from_function(local_part)

    return tuple(part(tensor) for tensor in batch)


def _ensure_logical_cpus(count: int) -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    configured = tf.config.get_logical_device_configuration(cpu)
    if configured is not None and len(configured) >= count:
        return
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        )
    except RuntimeError as error:
        if len(tf.config.list_logical_devices("CPU")) >= count:
            return
        raise UsageError(
            f"cpu_replicas is {count}, but TensorFlow has already started with "
            f"{len(tf.config.list_logical_devices('CPU'))} logical CPU device(s). Make the "
            "strategy before any other use of TensorFlow, or configure the devices with "
            "tf.config.set_logical_device_configuration."
        ) from error
