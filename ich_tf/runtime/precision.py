"""Choice of the precision and of XLA by the hardware.

Each choice carries its reason, which a run logs at its start.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import tensorflow as tf

from ich_tf.runtime.keras2 import keras

T = TypeVar("T")

_CPUINFO = Path("/proc/cpuinfo")
# CPU features that multiply bfloat16. With them ResNet50 trains 1.9 times as fast as in float32,
# without them 4 times as slowly.
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
# Volta, the first GPU generation with tensor cores; Ampere, the first whose tensor cores multiply
# bfloat16, which needs no loss scale.
_FLOAT16_CAPABILITY = (7, 0)
_BFLOAT16_CAPABILITY = (8, 0)


@dataclasses.dataclass(frozen=True)
class Device:
    """Features of a device that the choices depend on.

    Attributes:
      kind: `CPU` or `GPU`.
      compute_capability: CUDA compute capability of a GPU, for example (8, 0); None if unknown.
      has_bfloat16: Whether a CPU has instructions for bfloat16.
    """

    kind: str
    compute_capability: tuple[int, int] | None = None
    has_bfloat16: bool = False


@dataclasses.dataclass(frozen=True)
class Choice(Generic[T]):
    """A chosen value.

    Attributes:
      value: The value.
      reason: Reason for it, one line.
    """

    value: T
    reason: str


def devices_of(strategy: tf.distribute.Strategy) -> tuple[Device, ...]:
    """Devices that hold a strategy's replicas."""
    gpus = tf.config.list_physical_devices("GPU")
    devices = []
    for name in strategy.extended.worker_devices:
        spec = tf.DeviceSpec.from_string(name)
        if spec.device_type != "GPU":
            flags = _cpu_flags(_CPUINFO)
            devices.append(Device("CPU", has_bfloat16=bool(flags & _BFLOAT16_FLAGS)))
            continue
        details = tf.config.experimental.get_device_details(gpus[spec.device_index])
        devices.append(Device("GPU", compute_capability=details.get("compute_capability")))
    return tuple(devices)


def choose_precision(requested: str, devices: Sequence[Device]) -> Choice[str]:
    """Chooses `float32`, `float16` or `bfloat16`.

    Args:
      requested: One of `inference.config.PRECISIONS`; any but `auto` is returned unchanged.
      devices: Devices of all replicas; the weakest decides.

    Examples:
      >>> choose_precision("auto", [Device("GPU", compute_capability=(8, 0))]).value
      'bfloat16'
    """
    if requested != "auto":
        return Choice(requested, "as requested")
    if all(device.kind == "GPU" for device in devices):
        capabilities = [device.compute_capability or (0, 0) for device in devices]
        lowest = ".".join(map(str, min(capabilities)))
        if min(capabilities) >= _BFLOAT16_CAPABILITY:
            return Choice("bfloat16", f"GPUs of compute capability {lowest} multiply bfloat16")
        if min(capabilities) >= _FLOAT16_CAPABILITY:
            return Choice("float16", f"GPUs of compute capability {lowest} have tensor cores")
        return Choice("float32", f"GPUs of compute capability {lowest} have no tensor cores")
    if all(device.has_bfloat16 for device in devices):
        return Choice("bfloat16", "the CPU has AVX512_BF16 or AMX")
    return Choice("float32", "the CPU has neither AVX512_BF16 nor AMX")


def choose_xla(requested: str, devices: Sequence[Device], obstacle: str = "") -> Choice[bool]:
    """Chooses whether XLA compiles the step.

    Args:
      requested: One of `training.config.XLA_CHOICES`.
      devices: Devices of all replicas.
      obstacle: Reason of the network against XLA, which `auto` obeys; empty if there is none.
    """
    if requested != "auto":
        return Choice(requested == "on", "as requested")
    if obstacle:
        return Choice(False, obstacle)
    if all(device.kind == "GPU" for device in devices):
        return Choice(True, "XLA fuses kernels on GPUs")
    return Choice(False, "on CPUs oneDNN runs convolutions about 3 times as fast")


def set_tf32(allowed: bool, devices: Sequence[Device]) -> Choice[bool]:
    """Allows GPUs to round the factors of float32 products to TF32, or forbids it.

    Args:
      allowed: Whether to allow it.
      devices: Devices of all replicas.

    Returns:
      Whether any device computes so.
    """
    tf.config.experimental.enable_tensor_float_32_execution(allowed)
    capabilities = [device.compute_capability or (0, 0) for device in devices]
    if max(capabilities) < _BFLOAT16_CAPABILITY:
        return Choice(False, "no GPU from Ampere on")
    return Choice(allowed, "as requested")


@contextmanager
def policy_scope(precision: str) -> Iterator[None]:
    """Context in which new layers compute in `precision`, with variables in float32."""
    former_policy = keras.mixed_precision.global_policy()
    name = precision if precision == "float32" else f"mixed_{precision}"
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(former_policy)


@functools.cache
def _cpu_flags(cpuinfo: Path) -> frozenset[str]:
    """CPU features as /proc/cpuinfo lists them; empty if the file has no such line."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()
