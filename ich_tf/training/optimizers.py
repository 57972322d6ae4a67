"""The optimizer of a run."""

from __future__ import annotations

import tensorflow as tf

from ich_tf.errors import UsageError
from ich_tf.runtime.addons import load_addons
from ich_tf.runtime.keras2 import keras
from ich_tf.training.config import TrainConfig
from ich_tf.training.fused_optimizers import Adam, FusedOptimizer, NesterovSgd
from ich_tf.training.library_optimizer import LibraryOptimizer
from ich_tf.training.schedule import EpochSchedule, make_schedule

Optimizer = FusedOptimizer | LibraryOptimizer

_SGD_MOMENTUM = 0.9
# Names of variables that are no kernels, for addons' LAMB, which knows them by pattern alone; a
# replica's own are called kernel/replica_1:0.
_NO_KERNEL = r"^(?!.*kernel(/replica_\d+)?(:\d+)?$)"


def make_optimizer(
    config: TrainConfig, steps_per_epoch: int, *, loss_scaling: bool = False
) -> Optimizer:
    """Makes a run's optimizer; call it under the strategy's scope.

    Clipping is the training step's, since it must follow the reduction over replicas.

    Args:
      config: Config of the run; its `OptimizerConfig` and `epochs` are read.
      steps_per_epoch: Optimizer steps in an epoch.
      loss_scaling: Whether to keep a dynamic loss scale, as float16 needs: a step with a gradient
        that is not finite is skipped and the scale halved.

    Returns:
      An optimizer, whose `build` is still to be called.

    Raises:
      UsageError: If the config asks for tensorflow-addons where there is none.
    """
    schedule = make_schedule(config, steps_per_epoch)
    if config.optimizer in ("lamb", "radam") or config.lookahead:
        inner = _make_legacy(config, schedule)
        return LibraryOptimizer(inner, schedule, loss_scaling=loss_scaling)
    kind = NesterovSgd if config.optimizer == "sgd" else Adam
    return kind(schedule, weight_decay=config.weight_decay, loss_scaling=loss_scaling)


def is_decayed(variable: tf.Variable) -> bool:
    """Whether weight decay reaches a variable: kernels alone, of any kind of layer.

    Pulling biases, scales, widths or scores to 0 regularizes nothing.
    """
    return str(variable.name).split(":")[0].endswith("kernel")


def _make_legacy(config: TrainConfig, schedule: EpochSchedule) -> keras.optimizers.legacy.Optimizer:
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
            exclude_from_weight_decay=[_NO_KERNEL],
            exclude_from_layer_adaptation=[_NO_KERNEL],
        )
    elif config.optimizer == "radam":
        optimizer = addons.optimizers.RectifiedAdam(learning_rate=schedule)
    elif config.optimizer == "adam":
        optimizer = legacy.Adam(learning_rate=schedule)
    else:
        optimizer = legacy.SGD(learning_rate=schedule, momentum=_SGD_MOMENTUM, nesterov=True)
    return addons.optimizers.Lookahead(optimizer) if config.lookahead else optimizer
