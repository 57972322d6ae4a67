"""Distribution strategies: one device, or replicas on several devices of one host or more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.errors import UsageError
from ich_tf.runtime.rendezvous import wait_for_all
from ich_tf.runtime.tf_config import addresses


@dataclass(frozen=True)
class Worker:
    """One of the processes that train together.

    Attributes:
      index: Index of this process, from 0; the first is the chief, which writes the work dir.
      count: Number of processes.
      replicas: Number of replicas of each process.
    """

    index: int
    count: int
    replicas: int

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the work dir."""
        return self.index == 0


def make_strategy(
    name: str, cpu_replicas: int = 0, is_stopped: Callable[[], bool] = lambda: False
) -> tf.distribute.Strategy:
    """Makes the strategy in whose scope a run creates its variables.

    Args:
      name: `one`: the first GPU, or the CPU of a machine without GPUs. `mirrored`: a replica on
        each GPU, with gradients summed over all. `multi_worker`: a replica on each GPU of each
        host in the environment variable TF_CONFIG; all hosts run the same command.
      cpu_replicas: With `mirrored`, number of replicas on logical devices of the CPU, even if
        there are GPUs. 0: the GPUs, or one replica on the CPU of a machine without GPUs.
      is_stopped: With `multi_worker`, function that returns whether to stop waiting for hosts
        that have not started.

    Raises:
      InputError: If another host does not start within the limit of `rendezvous.wait_for_all`.
      Terminated: If `is_stopped` returned true.
      UsageError: If TensorFlow has already started with fewer logical CPU devices, which can be
        configured only before its first operation, or if TF_CONFIG does not describe this host.
    """
    if name == "multi_worker":
        address, others = addresses()
        wait_for_all(address, others, is_stopped)
        _grow_memory(tf.config.list_physical_devices("GPU"))
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name not in ("one", "mirrored"):
        raise ValueError(f"strategy is {name!r}; expected one of one, mirrored, multi_worker.")
    gpus = tf.config.list_physical_devices("GPU")
    _grow_memory(gpus)
    if name == "one":
        return tf.distribute.OneDeviceStrategy("GPU:0" if gpus and not cpu_replicas else "CPU:0")
    if gpus and not cpu_replicas:
        return tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(len(gpus))])
    replicas = max(1, cpu_replicas)
    _ensure_logical_cpus(replicas)
    # By default TensorFlow uses collective operations, whose numbers start again in each strategy.
    # The operations of a process's second strategy then collide with those of its first, fail with
    # "Shape mismatch in the collective instance", and all later operations are aborted.
    return tf.distribute.MirroredStrategy(
        [f"CPU:{i}" for i in range(replicas)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def reserve_devices(name: str, cpu_replicas: int = 0) -> None:
    """Configures the devices of `make_strategy` with the same arguments, before TensorFlow starts.

    What is done with TensorFlow until the strategy is made, such as to read data or to build a
    model, would else start it with one logical device of the CPU and all memory of the GPUs.

    Raises:
      UsageError: If TensorFlow has already started with fewer logical CPU devices.
    """
    gpus = tf.config.list_physical_devices("GPU")
    _grow_memory(gpus)
    if name == "mirrored" and (cpu_replicas or not gpus):
        _ensure_logical_cpus(max(1, cpu_replicas))


def count_replicas(name: str, cpu_replicas: int = 0) -> int:
    """Number of replicas of `make_strategy` with the same arguments, over all hosts.

    Hosts are taken to have as many GPUs as this one.

    Raises:
      UsageError: If TF_CONFIG does not describe this host.
    """
    gpus = len(tf.config.list_physical_devices("GPU"))
    if name == "one":
        return 1
    if name == "multi_worker":
        _, others = addresses()
        return (1 + len(others)) * max(1, gpus)
    return cpu_replicas or max(1, gpus)


def worker_of(strategy: tf.distribute.Strategy) -> Worker:
    """The worker that this process is in a strategy."""
    resolver = strategy.cluster_resolver
    cluster = resolver.cluster_spec().as_dict() if resolver is not None else {}
    chiefs, workers = (len(cluster.get(kind, [])) for kind in ("chief", "worker"))
    count = max(1, chiefs + workers)
    index = 0
    if count > 1:
        index = int(resolver.task_id) + (chiefs if resolver.task_type == "worker" else 0)
    return Worker(index, count, strategy.num_replicas_in_sync // count)


def split_batch(strategy: tf.distribute.Strategy, *batch: Any) -> tuple[Any, ...]:
    """Splits a batch into equal, contiguous parts, one for each replica of this process.

    A part for a GPU is copied to it at once: if a step is under way, beside that step, and ahead of
    the next.

    It is used instead of `experimental_distribute_dataset`, which fetches to each device through
    an iterator whose autotuner delays the end of every epoch by up to a minute (TensorFlow 2.15).

    Args:
      strategy: Strategy with the replicas.
      *batch: Eager tensors [n, ...], or tuples of them; n is a multiple of the number of replicas
        of this process.

    Returns:
      A distributed value for each argument, to pass to `strategy.run`.
    """
    replicas = worker_of(strategy).replicas
    share = len(tf.nest.flatten(batch)[0]) // replicas
    devices = strategy.extended.worker_devices

    def part(value: Any) -> Any:
        def local_part(context: tf.distribute.experimental.ValueContext) -> Any:
            number = context.replica_id_in_sync_group % replicas
            start, device = number * share, devices[number]

            def cut(tensor: tf.Tensor) -> tf.Tensor:
                tensor = tensor[start : start + share]
                if not _has_memory(device):
                    return tensor
                with tf.device(device):
                    return tf.identity(tensor)

            return tf.nest.map_structure(cut, value)

        return strategy.experimental_distribute_values_from_function(local_part)

    return tuple(part(value) for value in batch)


def _has_memory(device: str) -> bool:
    """Whether a device has a memory of its own, to which tensors are copied."""
    return bool(tf.DeviceSpec.from_string(device).device_type == "GPU")


def replica_variable(initial: tf.Tensor, name: str) -> tf.Variable:
    """Makes a variable that each replica changes by itself, all of them alike.

    A checkpoint holds the first replica's value.

    Args:
      initial: Initial value.
      name: Name of the variable.
    """
    return tf.Variable(
        initial,
        trainable=False,
        name=name,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def sum_over_workers(strategy: tf.distribute.Strategy, values: np.ndarray) -> np.ndarray:
    """Sums values over all workers.

    Args:
      strategy: Strategy of the workers.
      values: Values of this worker, float64 [k].

    Returns:
      The sum, float64 [k], the same on every worker.
    """
    worker = worker_of(strategy)
    if worker.count == 1:
        return values

    @tf.function  # type: ignore[untyped-decorator]
    def total(share: tf.Tensor) -> Any:
        def reduce(value: tf.Tensor) -> tf.Tensor:
            replica = tf.distribute.get_replica_context()
            # A copy on the replica's device; the device of an argument is unknown.
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))

        return strategy.run(reduce, args=(share,))

    # Each replica of a worker adds the same share of the worker's values.
    totals = total(tf.constant(values / worker.replicas, tf.float64))
    return np.asarray(strategy.experimental_local_results(totals)[0].numpy())


def _grow_memory(gpus: Sequence[Any]) -> None:
    """Lets TensorFlow take memory of GPUs as it needs it, not all of it at the start."""
    for gpu in gpus:
        # It has to be set before the first use, and alike on all GPUs; later it is as it is.
        with contextlib.suppress(RuntimeError, ValueError):
            tf.config.experimental.set_memory_growth(gpu, True)


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
