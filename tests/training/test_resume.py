"""Killed at any step, and continued to the bit: real processes, real SIGKILL."""

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support import training_run
from tests.support.runs import assert_same_run, smoke_config


def run(config, path, calls, moment="step"):
    """Its exit code and what it said."""
    process = training_run.start(config, path, calls, moment, stderr=subprocess.PIPE, text=True)
    _, said = process.communicate()
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "segmentation"), [(9, False), (4, True)])
def test_killed_at_random_steps(
    kills: int, segmentation: bool, masked_dir: Path, tmp_path: Path
) -> None:
    """Of replicas, augmentation, dropout and a moving average, in the middle of epochs."""
    config = smoke_config(
        masked_dir,
        tmp_path / "whole",
        strategy="mirrored",
        cpu_replicas=2,
        ema_decay=0.9,
        shift=0.1,
        rotate=10.0,
        max_steps_per_epoch=7,
        epochs=1 + 7 * kills // 10,
        checkpoint_steps=3,
        tensorboard=False,
        # Done anew by each process, it takes more time than the steps between two kills.
        self_check=segmentation,
        segmentation=segmentation,
        self_training=float(segmentation),
    )
    code, said = run(config, tmp_path / "whole.json", 0)
    assert code == 0, said
    cut = dataclasses.replace(config, work_dir=str(tmp_path / "cut"))
    rng = np.random.default_rng(kills)
    struck = 0
    while struck < kills:
        save = struck % 4 == 3
        calls = 2 if save else int(rng.integers(1, 9))
        code, said = run(cut, tmp_path / "cut.json", calls, "save" if save else "step")
        if code == 0:
            break
        assert code == -signal.SIGKILL, said
        struck += 1
    assert struck == kills, "the run ended before it was killed so often"
    code, said = run(cut, tmp_path / "cut.json", 0)
    assert code == 0, said
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_sigterm_is_obeyed_with_its_own_exit_code(data_dir: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "ich_tf.train", "--flagfile=configs/smoke.flags"),
            *(f"--data_dir={data_dir}", f"--work_dir={tmp_path}", "--epochs=500"),
        ],
        cwd=training_run.ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "epoch 1 of 500" in line:
            process.terminate()
            break
    rest = process.stderr.read()
    assert process.wait(60) == 143, rest
    assert "all of them saved. Run the same command again to continue." in rest
    assert "Traceback" not in rest
