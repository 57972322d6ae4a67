"""Hardware -> the arithmetic's type, and whether to compile with XLA.

Each choice comes with its reason, which a run logs at its start.
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
# The instructions that multiply bfloat16: with them ResNet50 trains 1.9 times as fast as in
# float32, without them 4 times as slowly.
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
# The first generation with tensor cores, Volta.
_FLOAT16_CAPABILITY = (7, 0)


@dataclasses.dataclass(frozen=True)
class Device:
    """What the choices need to know of a device.

    Attributes:
      kind: CPU or GPU.
      compute_capability: Of a GPU, for example (8, 0); None if unknown.
      has_bfloat16: Of a CPU, whether it multiplies bfloat16 itself.
    """

    kind: str
    compute_capability: tuple[int, int] | None = None
    has_bfloat16: bool = False


@dataclasses.dataclass(frozen=True)
class Choice(Generic[T]):
    """A value, and in one line why."""

    value: T
    reason: str


def devices_of(strategy: tf.distribute.Strategy) -> tuple[Device, ...]:
    """The devices that hold a strategy's replicas."""
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
    """`float32`, `float16` or `bfloat16`.

    Args:
      requested: One of `config.PRECISIONS`; all but `auto` are taken as they are.
      devices: Those of all replicas; the weakest decides.
    """
    if requested != "auto":
        return Choice(requested, "as requested")
    if all(device.kind == "GPU" for device in devices):
        capabilities = [device.compute_capability or (0, 0) for device in devices]
        lowest = ".".join(map(str, min(capabilities)))
        if min(capabilities) >= _FLOAT16_CAPABILITY:
            return Choice("float16", f"GPUs of compute capability {lowest} have tensor cores")
        return Choice("float32", f"GPUs of compute capability {lowest} have no tensor cores")
    if all(device.has_bfloat16 for device in devices):
        return Choice("bfloat16", "the CPU has AVX512_BF16 or AMX")
    return Choice("float32", "the CPU has neither AVX512_BF16 nor AMX")


def choose_xla(requested: str, devices: Sequence[Device]) -> Choice[bool]:
    """Whether to compile the forward and backward pass.

    Args:
      requested: One of `config.XLA_CHOICES`.
      devices: Those of all replicas.
    """
    if requested != "auto":
        return Choice(requested == "on", "as requested")
    if all(device.kind == "GPU" for device in devices):
        return Choice(True, "it fuses kernels on GPUs")
    return Choice(False, "on CPUs oneDNN runs convolutions about 3 times as fast")


@contextmanager
def policy_scope(precision: str) -> Iterator[None]:
    """Layers made within compute in `precision` and keep their variables in float32."""
    before = keras.mixed_precision.global_policy()
    name = precision if precision == "float32" else f"mixed_{precision}"
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


@functools.cache
def _cpu_flags(cpuinfo: Path) -> frozenset[str]:
    """The CPU's features as Linux names them; none where it does not say."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()
