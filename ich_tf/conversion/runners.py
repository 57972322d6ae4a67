"""The executor (local, Dask or Beam) that `--runner` names."""

from __future__ import annotations

from pathlib import Path

from ich_tf.conversion.config import ConversionConfig
from ich_tf.runtime.executors.base import Executor
from ich_tf.runtime.executors.local import LocalExecutor


def make_executor(config: ConversionConfig) -> Executor:
    """Makes the executor that `--runner` names.

    Args:
      config: Config of the conversion.

    Raises:
      InputError: If its package is missing, or its cluster does not answer.
    """
    # Imported on use: both take seconds, and are optional.
    if config.runner == "dask":
        from ich_tf.runtime.executors.dask import DaskExecutor

        return DaskExecutor(config.dask_scheduler)
    if config.runner == "beam":
        from ich_tf.runtime.executors.beam import BeamExecutor

        return BeamExecutor(config.beam_args, Path(config.out_dir))
    return LocalExecutor(config.num_workers)
