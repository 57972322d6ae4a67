"""Two processes on localhost that train together, as two hosts would."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ich_tf.conversion.convert import convert
from tests.support import training_run
from tests.support.commands import ROOT
from tests.support.conversions import config_for
from tests.support.runs import assert_same_run, final_state, smoke_config


@pytest.fixture(scope="module")
def sharded(phantom_dir, tmp_path_factory):
    """More shards than workers; with masks."""
    folder = tmp_path_factory.mktemp("sharded") / "data"
    masks_dir = str(phantom_dir / "stage_2_train_masks")
    convert(config_for(phantom_dir, folder, image_size=128, encoding="raw", masks_dir=masks_dir))
    return folder


SEGMENTATION = {"segmentation": True, "mask_weight": 1.0}


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(config, folder, calls=(0, 0)):
    """Both workers; each is killed before its given step, 0 never."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    workers = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        environment = {
            "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task}),
            # A lost worker is noticed by its connection; no waiting for lost packets here.
            "GRPC_FAIL_FAST": "use_caller",
        }
        with open(folder / f"worker-{index}.log", "a") as log:
            path = folder / f"worker-{index}.json"
            process = training_run.start(
                config, path, calls[index], env=environment, stdout=log, stderr=log
            )
        workers.append(process)
    return workers


def finish(workers, folder):
    codes = [worker.wait(300) for worker in workers]
    logs = [(folder / f"worker-{i}.log").read_text() for i in range(2)]
    assert codes == [0, 0], "\n\n".join(logs)
    return logs


@pytest.mark.slow
def test_one_that_waits_says_so_and_ends_when_told(sharded: Path, tmp_path: Path) -> None:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    task = {"type": "worker", "index": 0}
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ich_tf.train", "--flagfile=@smoke"),
                *("--strategy=multi_worker", f"--data_dir={sharded}", f"--work_dir={tmp_path}/w"),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task}),
            },
            stderr=log,
        )
    for _ in range(600):
        if "waiting for" in (tmp_path / "log").read_text():
            break
        time.sleep(0.1)
    process.terminate()
    code = process.wait(60)
    said = (tmp_path / "log").read_text()
    assert f"waiting for {addresses[1]}, at most" in said
    assert f"Terminated while {addresses[1]} had not started. Run the same command again" in said
    assert code == 143


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "changes"), [(0, {}), (1, SEGMENTATION)])
def test_one_is_killed_and_both_go_on_to_the_same_result(
    killed: int, changes: dict, sharded: Path, tmp_path: Path
) -> None:
    config = smoke_config(
        sharded,
        tmp_path / "whole",
        strategy="multi_worker",
        ema_decay=0.9,
        max_steps_per_epoch=5,
        tensorboard=False,
        **changes,
    )
    logs = finish(start(config, tmp_path), tmp_path)
    assert "worker 1 of 2" in logs[1]
    cut = dataclasses.replace(config, work_dir=str(tmp_path / "cut"))
    workers = start(cut, tmp_path, (8, 0) if killed == 0 else (0, 8))
    assert workers[killed].wait(300) == -signal.SIGKILL
    other = workers[1 - killed]
    try:
        # Without its partner it can only fail or wait; whoever runs the cluster ends it.
        other.wait(5)
    except subprocess.TimeoutExpired:
        other.kill()
        other.wait()
    finish(start(cut, tmp_path), tmp_path)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, SEGMENTATION], ids=["slices", "masks"])
def test_two_workers_learn_what_one_does_of_the_same_batches(
    changes: dict, sharded: Path, tmp_path: Path
) -> None:
    """Frozen statistics, the same records in each batch: the same weights."""
    config = smoke_config(
        sharded,
        tmp_path / "two",
        strategy="multi_worker",
        max_steps_per_epoch=3,
        epochs=1,
        freeze_bn=True,
        dropout=0.0,
        flip=False,
        optimizer="sgd",
        learning_rate=0.05,
        mixed_precision="float32",
        **changes,
    )
    finish(start(config, tmp_path), tmp_path)
    from ich_tf.records import input_pipeline
    from ich_tf.records.manifest import Manifest, deal_shards
    from ich_tf.training import slice_task, trainer

    manifest = Manifest.load(sharded)
    hands = deal_shards(manifest.train_shards(0), 2)

    def both(shards, image_shape, *, batch_size, seed, epoch, first_step, **settings):
        import tensorflow as tf

        halves = [
            real(
                hand,
                image_shape,
                batch_size=batch_size // 2,
                seed=seed,
                epoch=epoch,
                first_step=first_step,
                **{**settings, "worker": worker},
            )
            for worker, hand in enumerate(hands)
        ]
        zipped = tf.data.Dataset.zip(tuple(halves))
        return zipped.map(
            lambda a, b: tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), a, b)
        )

    real = input_pipeline.train_batches
    one = dataclasses.replace(config, strategy="one", work_dir=str(tmp_path / "one"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slice_task, "train_batches", both)
        result = trainer.train(one)
    left, right = final_state(tmp_path / "two"), final_state(tmp_path / "one")
    names = [name for name in left if name.startswith("model") and "kernel" in name]
    assert names
    for name in names:
        np.testing.assert_allclose(left[name], right[name], rtol=0, atol=1e-5)
    (epoch,) = result.history
    from ich_tf.training.history import read_history

    (other,) = read_history(tmp_path / "two" / "history.csv")
    assert other.val_loss == pytest.approx(epoch.val_loss, abs=1e-6)
    assert other.train_loss == pytest.approx(epoch.train_loss, abs=1e-5)
