"""Batches are changed alike in the input pipeline and on the devices, on however many replicas."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.records.manifest import Manifest
from ich_tf.runtime.strategies import Worker, split_batch
from ich_tf.training.config import TrainConfig
from ich_tf.training.end_to_end_task import EndToEndTask
from ich_tf.training.slice_task import SliceTask
from tests.support.steps import replicas

STRONG = {"flip": True, "shift": 0.1, "rotate": 20.0, "scale": 0.1}
CONFIGS = [
    (2, {"neighbours": 3, **STRONG, "cutout": 0.2, "flip_z": True}),
    (4, {"mixup": 0.4, "flip": True}),
    (1, {"augment_operations": 3, "augment_magnitude": 8.0, "mixup": 0.4}),
]


def seen_by_the_step(data_dir: Path, number: int, **changes) -> list[tuple[Any, Any]]:
    """Batches of the steps of the second epoch, but for its first, as the network gets them."""
    settings = {"batch_size": 8, "backbone": "tiny", "weights": "none", "max_steps_per_epoch": 4}
    config = TrainConfig(data_dir=str(data_dir), **{**settings, **changes})
    task = (EndToEndTask if config.sequence != "none" else SliceTask)(
        config, Manifest.load(data_dir)
    )
    task.deal(Worker(0, 1, number))
    strategy = replicas(number)
    steps = []

    @tf.function
    def prepare(*arguments: Any) -> Any:
        return strategy.run(prepare_part, args=arguments)

    def prepare_part(inputs: Any, labels: Any, step: Any) -> Any:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        share = tf.nest.flatten(labels)[0].shape[0]
        return task.prepare_batch(inputs, labels, step, replica * share)

    for step, batch in enumerate(task.batches(1, 1), start=task.steps + 1):
        parts = split_batch(strategy, *batch)
        if task.prepare_batch is not None:
            parts = prepare(*parts, tf.constant(step, tf.int64))
        local = [strategy.experimental_local_results(x) for x in tf.nest.flatten([*parts])]
        steps.append([np.concatenate([x.numpy() for x in values]) for values in local])
    return steps


def check_equal(steps: Any, expected: Any) -> None:
    assert len(steps) == len(expected) == 3
    for step, other in zip(steps, expected, strict=True):
        for one, two in zip(step, other, strict=True):
            assert one.dtype == two.dtype and one.shape == two.shape
            # Images are rounded: a last bit may round the other way.
            limit = 1 if one.dtype == np.uint8 else 1e-6
            assert np.abs(one.astype(np.float64) - two).max() <= limit
            assert (one != two).mean() < 1e-3


@pytest.mark.parametrize(("number", "changes"), CONFIGS)
def test_input_and_device_give_the_same_batches(data_dir: Path, number: int, changes: Any) -> None:
    expected = seen_by_the_step(data_dir, 1, augment_on="input", **changes)
    check_equal(seen_by_the_step(data_dir, number, augment_on="device", **changes), expected)
    plain = seen_by_the_step(data_dir, 1, neighbours=changes.get("neighbours", 1))
    assert all((one[0] != two[0]).mean() > 0.05 for one, two in zip(plain, expected, strict=True))


def test_masks_too(masked_dir: Path) -> None:
    changes = {"segmentation": True, "neighbours": 3, **STRONG, "cutout": 0.2}
    expected = seen_by_the_step(masked_dir, 1, augment_on="input", **changes)
    check_equal(seen_by_the_step(masked_dir, 2, augment_on="device", **changes), expected)
    assert any(mask.any() for _, _, mask, _ in expected)


def test_slabs_too(data_dir: Path) -> None:
    changes = {"sequence": "bigru", "slab": 3, **STRONG}
    expected = seen_by_the_step(data_dir, 1, augment_on="input", **changes)
    check_equal(seen_by_the_step(data_dir, 2, augment_on="device", **changes), expected)


def test_a_run_draws_anew_in_each_step(data_dir: Path) -> None:
    one, two, _ = seen_by_the_step(data_dir, 1, flip=True, augment_on="device")
    assert one[0].shape == two[0].shape and (one[0] != two[0]).any()
