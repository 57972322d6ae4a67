"""Where replicas run: one device, a replica on each of several, on one host or on many."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.errors import UsageError
from ich_tf.runtime.rendezvous import wait_for_all


@dataclass(frozen=True)
class Worker:
    """One of the processes that train together.

    Attributes:
      index: From 0; the first is the chief, who writes the work dir.
      count: Of all workers.
      replicas: On each of them.
    """

    index: int
    count: int
    replicas: int

    @property
    def is_chief(self) -> bool:
        """Whether this one writes."""
        return self.index == 0


def make_strategy(
    name: str, cpu_replicas: int = 0, is_stopped: Callable[[], bool] = lambda: False
) -> tf.distribute.Strategy:
    """Makes the strategy under whose scope a run's variables are created.

    Args:
      name: `one`: the first GPU, or the CPU where there is none. `mirrored`: a replica on
        each GPU, gradients summed over all. `multi_worker`: likewise over the hosts that the
        environment variable TF_CONFIG names, each of which runs the same command.
      cpu_replicas: With `mirrored`, so many replicas on logical devices of the CPU, GPUs
        or not. 0: the GPUs, or one replica on the CPU where there is none.
      is_stopped: With `multi_worker`, asked while others have not started yet: whether to give up.

    Raises:
      InputError: If another worker does not start, as `rendezvous.wait_for_all`.
      Terminated: Likewise.
      UsageError: If TensorFlow has started with fewer logical CPU devices; they can be
        configured only before its first operation. If TF_CONFIG does not name a worker.
    """
    if name == "multi_worker":
        own, others = _addresses(os.environ.get("TF_CONFIG", ""))
        wait_for_all(own, others, is_stopped)
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name not in ("one", "mirrored"):
        raise ValueError(f"strategy is {name!r}; expected one, mirrored or multi_worker.")
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


def worker_of(strategy: tf.distribute.Strategy) -> Worker:
    """This process among those that share a strategy."""
    resolver = strategy.cluster_resolver
    cluster = resolver.cluster_spec().as_dict() if resolver is not None else {}
    chiefs, workers = (len(cluster.get(kind, [])) for kind in ("chief", "worker"))
    count = max(1, chiefs + workers)
    index = 0
    if count > 1:
        index = int(resolver.task_id) + (chiefs if resolver.task_type == "worker" else 0)
    return Worker(index, count, strategy.num_replicas_in_sync // count)


def split_batch(strategy: tf.distribute.Strategy, *batch: Any) -> tuple[Any, ...]:
    """Gives each replica of this process an equal, contiguous part of its batch.

    Instead of `experimental_distribute_dataset`: that one fetches to each device through an
    iterator of its own, whose autotuner holds up the end of every epoch for up to a minute
    (TensorFlow 2.15).

    Args:
      strategy: The replicas.
      *batch: Eager tensors [n, ...], or tuples of them; the number of this process's replicas
        divides n.

    Returns:
      A distributed value for each of them, to be given to `strategy.run`.
    """
    replicas = worker_of(strategy).replicas
    share = len(tf.nest.flatten(batch)[0]) // replicas

    def part(value: Any) -> Any:
        def local_part(context: tf.distribute.experimental.ValueContext) -> Any:
            start = context.replica_id_in_sync_group % replicas * share
            return tf.nest.map_structure(lambda tensor: tensor[start : start + share], value)

        return strategy.experimental_distribute_values_from_function(local_part)

    return tuple(part(value) for value in batch)


def sum_over_workers(strategy: tf.distribute.Strategy, values: np.ndarray) -> np.ndarray:
    """Adds up each worker's values, float64 [k]; all of them get the sum."""
    worker = worker_of(strategy)
    if worker.count == 1:
        return values

    @tf.function  # type: ignore[untyped-decorator]
    def total(share: tf.Tensor) -> Any:
        def reduce(value: tf.Tensor) -> tf.Tensor:
            replica = tf.distribute.get_replica_context()
            # A copy on the replica's device: an argument itself lies on none that is known.
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))

        return strategy.run(reduce, args=(share,))

    # Each of its replicas adds the same share of the worker's values.
    found = total(tf.constant(values / worker.replicas, tf.float64))
    return np.asarray(strategy.experimental_local_results(found)[0].numpy())


def _addresses(text: str) -> tuple[str, list[str]]:
    """This worker's and the others', of a TF_CONFIG.

    Raises:
      UsageError: If it does not name a worker.
    """
    example = (
        '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    try:
        content = json.loads(text)
        cluster, task = content["cluster"], content["task"]
        known = set(cluster) <= {"chief", "worker"} and task["type"] in cluster
        if known and 0 <= int(task["index"]) < len(cluster[task["type"]]):
            addresses = [one for kind in cluster for one in cluster[kind]]
            own = cluster[task["type"]][int(task["index"])]
            addresses.remove(own)
            return own, addresses
        found = f"TF_CONFIG is {text}"
    except (ValueError, KeyError, TypeError):
        found = f"TF_CONFIG is {text!r}" if text else "TF_CONFIG is not set"
    raise UsageError(
        f"--strategy=multi_worker: {found}. Expected, in the environment of each host, its own "
        f"place among the workers, as in TF_CONFIG='{example}'."
    )


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
