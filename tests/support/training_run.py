"""A training run in a process of its own, which kills itself after some steps.

    python tests/training_run.py <config.json> <calls before SIGKILL, or 0> [moment]

`moment`: "step": as the step begins. "save": between a checkpoint and the list that names it.
"""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def start(config, path: Path, calls: int = 0, moment: str = "step", **settings) -> subprocess.Popen:
    """Starts this file; `settings` are Popen's, `env` added to the environment."""
    path.write_text(config.to_json())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings.pop("env", {})}
    command = [sys.executable, __file__, str(path), str(calls), moment]
    return subprocess.Popen(command, cwd=ROOT, env=environment, **settings)


def main(path: str, calls: str, moment: str = "step") -> None:
    import tensorflow as tf

    from ich_tf.training.config import TrainConfig
    from ich_tf.training.step import TrainingStep
    from ich_tf.training.trainer import train

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    left = int(calls)

    def strike():
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    real_call, real_record = TrainingStep.__call__, tf.train.CheckpointManager._record_state

    def call(self, *batches):
        if moment == "step":
            strike()
        return real_call(self, *batches)

    def record(self):
        # The new checkpoint's files are there, and none is deleted; the list does not name it yet.
        if moment == "save":
            strike()
        real_record(self)

    tf.train.CheckpointManager._record_state = record
    TrainingStep.__call__ = call
    train(TrainConfig.from_json(Path(path).read_text()))


if __name__ == "__main__":
    main(*sys.argv[1:])
