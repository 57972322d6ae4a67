"""`train(config)`: task, hardware and step are set up, the run is resumed or started."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ich_tf.errors import ConfigError
from ich_tf.models import run_files
from ich_tf.models.origins import Origin
from ich_tf.records.manifest import damage_named
from ich_tf.runtime.folder_lock import FolderLock
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.precision import policy_scope
from ich_tf.runtime.sigterm import Interruption
from ich_tf.runtime.strategies import count_replicas, reserve_devices
from ich_tf.training.checkpoints import TrainingState
from ich_tf.training.config import ALL_FOLDS, TrainConfig
from ich_tf.training.config_parts import BAG, SERIES, SLAB, SLICE
from ich_tf.training.end_to_end_task import EndToEndTask
from ich_tf.training.exam_task import ExamTask
from ich_tf.training.fine_tuning import Freezing, backbone_layers, lr_multipliers
from ich_tf.training.hardware import Hardware, choose_hardware
from ich_tf.training.heat_map_teacher import HeatMapTeacher
from ich_tf.training.history import EpochResult, read_history
from ich_tf.training.leakage import check_ancestors, origin_of
from ich_tf.training.loop import TrainingLoop
from ich_tf.training.optimizers import make_optimizer
from ich_tf.training.replica_batches import warn_of_small_parts, with_replica_batches
from ich_tf.training.result import TrainResult
from ich_tf.training.run_log import RunLog, describe_session, write_run
from ich_tf.training.series_task import SeriesTask
from ich_tf.training.slice_task import SliceTask
from ich_tf.training.step import TrainingStep
from ich_tf.training.task import Task
from ich_tf.training.tracker import load_tracker, tracking
from ich_tf.training.work_dir import (
    can_resume,
    check_work_dir,
    delete_run,
    read_config,
    start_work_dir,
)

_LOG = logging.getLogger(__name__)
_TASKS: dict[str, Callable[[TrainConfig], Task]] = {
    SLICE: SliceTask.load,
    SLAB: EndToEndTask.load,
    BAG: ExamTask.load,
    SERIES: SeriesTask.load,
}


def train(config: TrainConfig) -> TrainResult:
    """Trains a classifier, or continues a run from its last checkpoint.

    Data, config and weights are checked before any file of a former run is changed.

    Args:
      config: Config of the run. Its `validation_fold` must be a number; `cross_validation` trains
        a run for each fold.

    Raises:
      InputError: If the data, the work dir or the weights cannot be worked with, or another run
        writes to the work dir.
      DivergenceError: If the loss becomes infinite or NaN; the work dir keeps the last checkpoint.
      SelfCheckError: If replicas or compiled code do not compute what they should.
      UsageError: If the strategy cannot be had.
      Terminated: After SIGTERM, once the state is saved.
    """
    if config.validation_fold == ALL_FOLDS:
        raise ConfigError("validation_fold is 'all'; it must be a fold's number for one run.")
    if config.seeds:
        raise ConfigError(f"seeds is {list(config.seeds)}; it must be empty for one run.")
    replicas = count_replicas(config.strategy, config.cpu_replicas)
    config = with_replica_batches(config, replicas)
    make_tracker = load_tracker(config)
    with Interruption() as interruption:
        # Tasks over series use TensorFlow when they are made.
        reserve_devices(config.strategy, config.cpu_replicas)
        task = make_task(config)
        check_work_dir(config.work_dir, config, task.data)
        origin = origin_of(config, task)
        check_ancestors(config, task, origin)
        hardware = choose_hardware(config, is_stopped=lambda: interruption.requested)
        task.deal(hardware.worker)
        _LOG.info(
            "%s: %d slices to train on, %d to validate on (fold %s)",
            *(config.data_dir, task.num_train, task.num_validation, config.validation_fold),
        )
        step = make_step(config, task, hardware)
        validate = task.validator(step.model, hardware.strategy)
        # Nothing on the disk has been changed so far, and all that is refused has been refused.
        with _output_folder(config, hardware) as folder:
            # Once more: another run may have begun and ended in the folder meanwhile.
            check_work_dir(config.work_dir, config, task.data)
            resumes = can_resume(config.work_dir) and not config.overwrite
            if hardware.worker.is_chief and not resumes:
                delete_run(config.work_dir)
            with hardware.strategy.scope():
                state = TrainingState(
                    config.work_dir, step.model, step.optimizer, step.state, write_to=folder
                )
                if resumes:
                    state.restore()
            if hardware.worker.is_chief:
                _start_run(config, task, origin, hardware, resumes=resumes)
            tensorboard = config.tensorboard and hardware.worker.is_chief
            history = _finished_epochs(config, state)
            with (
                RunLog.open(folder, tensorboard=tensorboard) as log,
                tracking(
                    make_tracker if hardware.worker.is_chief else None, config, len(history)
                ) as track,
                damage_named(task.shards),
            ):
                loop = TrainingLoop(
                    config=config,
                    task=task,
                    hardware=hardware,
                    step=step,
                    freezing=Freezing(
                        step, backbone_layers(step.model, task.spec), config.freeze_epochs
                    ),
                    validate=validate,
                    state=state,
                    history=history,
                    log=log,
                    track=track,
                    folder=folder,
                    interruption=interruption,
                )
                loop.run()
    progress = state.progress
    return TrainResult(
        Path(config.work_dir), progress.best_epoch, progress.best_loss, tuple(loop.history)
    )


def make_task(config: TrainConfig) -> Task:
    """Opens the data of a config and chooses what is trained on them.

    Raises:
      InputError: If the data cannot be trained on.
    """
    return _TASKS[config.example](config)


def make_step(config: TrainConfig, task: Task, hardware: Hardware) -> TrainingStep:
    """Builds a run's model with its initial weights, its optimizer, and the step of both.

    Args:
      config: Config of the run.
      task: Its task, dealt.
      hardware: Its devices.
    """
    precision = hardware.precision.value
    keras.utils.set_random_seed(_seed_of_32_bits(config.seed))
    with hardware.strategy.scope(), policy_scope(precision):
        model = task.build()
        teacher = HeatMapTeacher(task.build()) if config.self_training else None
        optimizer = make_optimizer(config, task.steps, loss_scaling=precision == "float16")
    step = TrainingStep(
        model,
        optimizer,
        hardware.strategy,
        batch_size=config.batch_size,
        seed=config.seed,
        xla=hardware.xla.value,
        clip_norm=config.clip_norm,
        accumulation=config.accumulation,
        ema_decay=config.ema_decay,
        loss=task.loss,
        prepare=task.prepare_batch,
        sync_bn=config.sync_bn,
        lr_multipliers=lr_multipliers(model, task.spec, config),
        teacher=teacher,
        slice_chunk=config.slice_chunk,
    )
    if step.statistics:
        replicas = 1 if step.sync_bn else hardware.strategy.num_replicas_in_sync
        parts = replicas * config.accumulation
        slices = task.slices_per_step / parts
        what = f"{task.slices_per_step:g} in a batch, {parts} parts"
        if 0 < config.slice_chunk < slices:
            slices, what = config.slice_chunk, f"--slice_chunk={config.slice_chunk}"
        warn_of_small_parts(slices, what, synchronized=replicas == 1)
    return step


def _seed_of_32_bits(seed: int) -> int:
    """Seed of the initial weights: NumPy's generator takes 32 bits, a larger seed is hashed."""
    return seed if seed < 2**32 else int(np.random.SeedSequence(seed).generate_state(1)[0])


@contextmanager
def _output_folder(config: TrainConfig, hardware: Hardware) -> Iterator[Path]:
    """The folder that this process writes into: the work dir, or a temporary one."""
    if hardware.worker.is_chief:
        with FolderLock(Path(config.work_dir), "Or give another --work_dir."):
            yield Path(config.work_dir)
        return
    # Every worker must save when the chief does, but only the chief's files count.
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _start_run(
    config: TrainConfig, task: Task, origin: Origin, hardware: Hardware, *, resumes: bool
) -> None:
    """Makes the work dir ready, of which a run that cannot be continued has changed nothing."""
    if resumes:
        _log_extension(config)
    start_work_dir(config.work_dir, config)
    work_dir = Path(config.work_dir)
    task.prepare(work_dir)
    write_run(work_dir, task.data, origin, describe_session(hardware.describe()))


def _log_extension(config: TrainConfig) -> None:
    """Says how a run goes on that gets more epochs than it was to have."""
    former = read_config(Path(config.work_dir))
    if former.epochs == config.epochs:
        return
    course = "the learning rate goes on as before"
    if config.schedule == "cosine":
        course = (
            "the cosine is that of so many epochs: the learning rate rises to where it would be"
        )
    _LOG.info(
        "%s: extended from %d to %d epochs; %s",
        *(config.work_dir, former.epochs, config.epochs, course),
    )


def _finished_epochs(config: TrainConfig, state: TrainingState) -> list[EpochResult]:
    # A run that was killed between the history and the checkpoint has one epoch too many in it.
    history = read_history(Path(config.work_dir) / run_files.HISTORY)
    return [result for result in history if result.epoch <= state.progress.epoch]
