"""The optimizer of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ich_tf.errors import UsageError
from ich_tf.runtime.addons import load_addons
from ich_tf.runtime.keras2 import keras
from ich_tf.training.config import TrainConfig
from ich_tf.training.schedule import EpochSchedule, make_schedule

_SGD_MOMENTUM = 0.9
# Weight decay leaves out biases and batch normalisation's scale and shift: pulling them to 0
# regularizes nothing.
_NO_DECAY = ("bias", "gamma", "beta")


def make_optimizer(config: TrainConfig, steps_per_epoch: int, *, loss_scaling: bool = False) -> Any:
    """Makes a run's optimizer; call it under the strategy's scope.

    Clipping is the training step's, since it must follow the reduction over replicas.

    Args:
      config: Config of the run; its `OptimizerConfig` and `epochs` are read.
      steps_per_epoch: Optimizer steps in an epoch.
      loss_scaling: Whether to wrap the optimizer in Keras's dynamic loss scale, as float16 needs:
        a step with a gradient that is not finite is skipped and the scale halved.

    Returns:
      A Keras optimizer; of the legacy kind if it comes from tensorflow-addons.

    Raises:
      UsageError: If the config asks for tensorflow-addons where there is none.
    """
    optimizer = _make(config, make_schedule(config, steps_per_epoch))
    if loss_scaling:
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


def create_variables(optimizer: Any, variables: Sequence[tf.Variable]) -> None:
    """Makes an optimizer's variables; call it before a function that uses them is traced."""
    if _is_legacy(optimizer):
        # This property makes the counter at its first use.
        _ = optimizer.iterations
        optimizer._create_all_weights(variables)
    else:
        optimizer.build(variables)


def apply_gradients(
    optimizer: Any, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]
) -> None:
    """Takes the optimizer's step on a replica, with gradients summed over all replicas already."""
    pairs = zip(gradients, variables, strict=True)
    if _is_legacy(optimizer):
        optimizer.apply_gradients(pairs, experimental_aggregate_gradients=False)
    else:
        optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)


def is_decayed(variable: tf.Variable) -> bool:
    """Whether weight decay reaches a variable: kernels alone, of any kind of layer.

    Pulling biases, scales, widths or scores to 0 regularizes nothing.
    """
    return str(variable.name).split(":")[0].endswith("kernel")


def scales_loss(optimizer: Any) -> bool:
    """Whether `make_optimizer` made it with `loss_scaling`."""
    return hasattr(optimizer, "get_unscaled_gradients")


def _make(config: TrainConfig, schedule: EpochSchedule) -> Any:
    if config.optimizer in ("lamb", "radam") or config.lookahead:
        return _make_legacy(config, schedule)
    # jit_compile would compile the update on GPUs, which the mirrored strategy cannot.
    common: dict[str, Any] = {"learning_rate": schedule, "jit_compile": False}
    optimizers = keras.optimizers
    if config.optimizer == "adam":
        return optimizers.Adam(**common)
    if config.optimizer == "adamw":
        optimizer = optimizers.AdamW(weight_decay=config.weight_decay, **common)
    else:
        optimizer = optimizers.SGD(
            momentum=_SGD_MOMENTUM,
            nesterov=True,
            weight_decay=config.weight_decay or None,
            **common,
        )
    if config.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=list(_NO_DECAY))
    return optimizer


def _make_legacy(config: TrainConfig, schedule: EpochSchedule) -> Any:
    addons = load_addons()
    if addons is None:
        flag = "--lookahead" if config.lookahead else f"--optimizer={config.optimizer}"
        raise UsageError(
            f"{flag} is tensorflow-addons', which TensorFlow {tf.__version__} does not have. Use "
            "--optimizer=adamw, with --warmup_epochs and --ema_decay, or TensorFlow 2.15."
        )
    legacy = keras.optimizers.legacy
    if config.optimizer == "lamb":
        optimizer = addons.optimizers.LAMB(
            learning_rate=schedule,
            weight_decay=config.weight_decay,
            exclude_from_weight_decay=list(_NO_DECAY),
            exclude_from_layer_adaptation=list(_NO_DECAY),
        )
    elif config.optimizer == "radam":
        optimizer = addons.optimizers.RectifiedAdam(learning_rate=schedule)
    elif config.optimizer == "adam":
        optimizer = legacy.Adam(learning_rate=schedule)
    else:
        optimizer = legacy.SGD(learning_rate=schedule, momentum=_SGD_MOMENTUM, nesterov=True)
    return addons.optimizers.Lookahead(optimizer) if config.lookahead else optimizer


def _is_legacy(optimizer: Any) -> bool:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return isinstance(inner, keras.optimizers.legacy.Optimizer)
