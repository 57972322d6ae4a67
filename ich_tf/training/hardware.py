"""Choice of distribution strategy, precision and XLA for a run."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import tensorflow as tf

from ich_tf.runtime.precision import Choice, choose_precision, choose_xla, devices_of, set_tf32
from ich_tf.runtime.strategies import Worker, make_strategy, worker_of
from ich_tf.training.config import TrainConfig

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Hardware:
    """Devices of a run, and how it computes on them.

    Attributes:
      strategy: Strategy that holds the replicas.
      worker: This process among those that train together.
      device_kind: `CPU` or `GPU`.
      precision: Type of the arithmetic, float32, bfloat16 or float16, and the reason for it.
      xla: Whether the step is compiled, and the reason for it.
      tf32: Whether GPUs round factors of float32 products, and the reason for it.
    """

    strategy: tf.distribute.Strategy
    worker: Worker
    device_kind: str
    precision: Choice[str]
    xla: Choice[bool]
    tf32: Choice[bool]

    def describe(self) -> dict[str, str]:
        """Describes the choices and their reasons for `run.json`."""
        replicas = f"{self.strategy.num_replicas_in_sync} {self.device_kind} replica(s)"
        if self.worker.count > 1:
            replicas += f", worker {self.worker.index} of {self.worker.count}"
        return {
            "replicas": replicas,
            "precision": self.precision.value,
            "precision_reason": self.precision.reason,
            "xla": "on" if self.xla.value else "off",
            "xla_reason": self.xla.reason,
            "tf32": "on" if self.tf32.value else "off",
            "tf32_reason": self.tf32.reason,
        }


def choose_hardware(
    config: TrainConfig,
    strategy: tf.distribute.Strategy | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Hardware:
    """Makes the strategy of a run and chooses precision and XLA by its devices.

    Args:
      config: Config of the run.
      strategy: A strategy to take instead; None makes the config's.
      is_stopped: Function that tells whether to give up waiting for other workers.

    Raises:
      UsageError: If the strategy cannot be had.
      Terminated: If `is_stopped` returns True while other workers are waited for.
    """
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = strategy or make_strategy(config.strategy, config.cpu_replicas, is_stopped)
    devices = devices_of(strategy)
    hardware = Hardware(
        strategy,
        worker_of(strategy),
        devices[0].kind,
        choose_precision(config.mixed_precision, devices),
        choose_xla(config.xla, devices, _obstacle_to_xla(config, len(devices))),
        set_tf32(config.tf32, devices),
    )
    choices = hardware.describe()
    _LOG.info("strategy %s: %s", config.strategy, choices["replicas"])
    _LOG.info("precision %s: %s", choices["precision"], choices["precision_reason"])
    _LOG.info("XLA %s: %s", choices["xla"], choices["xla_reason"])
    _LOG.info("TF32 %s: %s", choices["tf32"], choices["tf32_reason"])
    return hardware


def _obstacle_to_xla(config: TrainConfig, replicas: int) -> str:
    """Reason of a config's network against XLA; empty if there is none."""
    if "bigru" in (config.backbone, config.sequence):
        return "recurrent layers have a kernel of cuDNN's, which XLA does not call"
    if config.sync_bn and replicas > 1:
        return "batch normalisation sums over the replicas inside the network"
    return ""
