"""Training runs of a tiny network, and comparisons of what they leave."""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow as tf

from ich_tf.runtime import files
from ich_tf.training.config import TrainConfig
from ich_tf.training.history import read_history
from tests.support.steps import BATCH


def smoke_config(data_dir: Path, work_dir: Path, **changes) -> TrainConfig:
    values = {
        "data_dir": str(data_dir),
        "work_dir": str(work_dir),
        "backbone": "tiny",
        "weights": "none",
        "image_size": 32,
        "batch_size": BATCH,
        "epochs": 2,
        "max_steps_per_epoch": 5,
        "learning_rate": 1e-3,
        "schedule": "constant",
        "dropout": 0.2,
        "flip": True,
        "checkpoint_steps": 2,
    }
    return TrainConfig(**{**values, **changes})


def final_state(work_dir) -> dict[str, np.ndarray]:
    """Every value of the last checkpoint but the clock's, and the best weights' hash."""
    reader = tf.train.load_checkpoint(str(Path(work_dir) / "checkpoints"))
    state = {}
    for name in reader.get_variable_to_shape_map():
        # The object graph names nodes in an order of its own.
        if not name.startswith(("_CHECKPOINTABLE", "save_counter", "progress")):
            state[name] = reader.get_tensor(name)
    assert any("optimizer" in name for name in state)
    state["best"] = np.array(files.file_sha256(Path(work_dir) / "best.weights.h5"))
    return state


def learned(history):
    """History without what a clock measured."""
    return [
        dataclasses.replace(epoch, seconds=0, slices_per_second=0, input_wait=0)
        for epoch in history
    ]


def assert_same_run(left, right):
    one, two = final_state(left), final_state(right)
    assert one.keys() == two.keys()
    assert [name for name in one if not np.array_equal(one[name], two[name])] == []
    histories = [learned(read_history(Path(folder) / "history.csv")) for folder in (left, right)]
    assert histories[0] == histories[1]
