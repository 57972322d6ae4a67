"""Devices and precision that predictions are computed with."""

from __future__ import annotations

import dataclasses
import logging

import tensorflow as tf

from ich_tf.runtime.precision import Choice, choose_precision, devices_of, set_tf32
from ich_tf.runtime.strategies import make_strategy

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class InferenceHardware:
    """Devices of a prediction, and the type of its arithmetic.

    Attributes:
      strategy: Strategy whose replicas share each batch.
      precision: `float32`, `bfloat16` or `float16`.
    """

    strategy: tf.distribute.Strategy
    precision: str


def choose_inference_hardware(requested: str) -> InferenceHardware:
    """Takes all devices, and chooses the precision by them.

    `auto` is that of training on GPUs, and float32 on CPUs, of which only some have half precision:
    a model's probabilities would change from one machine to the next. In bfloat16, logits that
    spread by 3 moved by 0.012 on average and 0.04 at most (ResNet50, 64 px), or by 0.042 and 0.15
    (EfficientNet-B4): probabilities by up to 0.04. In float16 it was 0.004 and 0.05 at most.

    GPUs compute in float32 without TF32, as CPUs do: ResNet50's logits on an H200, which spread by
    2, were those of a CPU to 1.4e-6.

    Args:
      requested: One of `config.PRECISIONS`.
    """
    strategy = make_strategy("mirrored")
    devices = devices_of(strategy)
    set_tf32(False, devices)
    if requested == "auto" and any(device.kind == "CPU" for device in devices):
        choice = Choice("float32", "the same on every CPU")
    else:
        choice = choose_precision(requested, devices)
    _LOG.info(
        "%d %s replica(s), precision %s: %s",
        *(strategy.num_replicas_in_sync, devices[0].kind, choice.value, choice.reason),
    )
    return InferenceHardware(strategy, choice.value)
