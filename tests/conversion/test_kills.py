"""Conversions that are killed at random moments: nothing outlives them, nothing is lost by them.

ICH_TF_KILLS=100 python -m pytest -m slow tests/conversion/test_kills.py is the long form.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from ich_tf.conversion.config import ConversionConfig
from tests.support.commands import ROOT
from tests.support.conversions import config_for, conversion_command, files_of, undisturbed
from tests.support.processes import alive, descendants, wait_until

KILLS = int(os.environ.get("ICH_TF_KILLS", "8"))
SEED = 20
# The parent alone, as the OOM killer and batch systems do; one of its children; all at once.
TARGETS = ("parent", "child", "parent and child", "group")
SIGNALS = (signal.SIGKILL, signal.SIGTERM)


@pytest.fixture(scope="module")
def whole(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills") / "whole"
    return undisturbed(phantom_dir, folder, masks_dir=masks_of(phantom_dir))


def masks_of(phantom_dir: Path) -> str:
    return str(phantom_dir / "stage_2_train_masks")


def strike(config: ConversionConfig, target: str, number: int, rng: np.random.Generator) -> bool:
    """Runs a conversion and kills some of its processes.

    Returns:
      Whether a process was there to be killed; nothing of the run is left then.
    """
    process = subprocess.Popen(
        conversion_command(config),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    # From the start of its writing on for as long as that takes; some strikes come before.
    begun = Path(config.out_dir) / "splits.json"
    wait_until(lambda: begun.exists() or process.poll() is not None, 60)
    time.sleep(rng.uniform(0, 0.5))
    children = descendants(process.pid)
    struck = process.poll() is None and bool(children)
    if struck:
        if target == "group":
            os.killpg(process.pid, number)
        else:
            pids = [process.pid] if "parent" in target else []
            pids += [int(rng.choice(children))] if "child" in target else []
            for pid in pids:
                if alive([pid]):
                    os.kill(pid, number)
        if target != "child":
            wait_until(lambda: not alive([process.pid, *children]), 5)
            assert alive([process.pid, *children]) == []
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    if target == "child":
        assert process.returncode == 0, errors  # another has done the work
    wait_until(lambda: not alive(children), 5)
    assert alive(children) == []
    return struck


@pytest.mark.slow
def test_killed_at_random_moments(phantom_dir: Path, whole: Path, tmp_path: Path) -> None:
    """After one kill or more, the same command finishes the work, as if nothing had been."""
    out_dir = tmp_path / "out"
    config = config_for(
        phantom_dir,
        out_dir,
        image_size=128,
        encoding="raw",
        num_workers=2,
        masks_dir=masks_of(phantom_dir),
    )
    expected = files_of(whole)
    rng = np.random.default_rng(SEED)
    struck = rounds = 0
    while struck < KILLS:
        # On a fast machine some runs end before they are killed: they do not count.
        rounds += 1
        assert rounds <= 5 * KILLS, f"{struck} of {rounds} runs were struck"
        target, number = TARGETS[struck % len(TARGETS)], SIGNALS[struck // len(TARGETS) % 2]
        what = f"round {rounds}: {number.name} to {target}"
        struck += strike(config, target, number, rng)
        if rng.random() < 0.7:
            subprocess.run(
                conversion_command(config), cwd=ROOT, check=True, stdout=subprocess.DEVNULL
            )
            assert files_of(out_dir) == expected, what
            shutil.rmtree(out_dir)
