"""Conversions that are cut off: by SIGKILL at random moments, by a full disk."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from tests.support.commands import ROOT
from tests.support.conversions import config_for, files_of

FLAGS = (
    "dicom_dir", "labels_csv", "out_dir", "image_size", "num_folds", "test_fraction", "shard_mb",
    "num_workers", "encoding",
)  # fmt: skip


def command(config: ConversionConfig) -> list[str]:
    """The command that runs a config."""
    values = [f"--{name}={getattr(config, name)}" for name in FLAGS]
    return [sys.executable, "-m", "tools.make_tfrecords", *values]


@pytest.fixture(scope="module")
def whole(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run: eight shards of a megabyte."""
    folder = tmp_path_factory.mktemp("interruption") / "whole"
    convert(config_for(phantom_dir, folder, image_size=128, encoding="raw"))
    assert len(list(folder.glob("*.tfrecord"))) > 6
    return folder


def interrupt(config: ConversionConfig, rng: np.random.Generator) -> None:
    """Starts the command and kills it, and its workers, at a random moment of its writing."""
    out_dir = Path(config.out_dir)
    before = len(list(out_dir.glob("*.json")))
    process = subprocess.Popen(
        command(config),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # From its first change to the folder on, for as long as a few shards take.
    while process.poll() is None and len(list(out_dir.glob("*.json"))) == before:
        if list(out_dir.glob(".*.tmp")):
            break
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.1))
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "workers"), [(4, 1), (50, 2)])
def test_killed_at_random_moments(
    phantom_dir: Path, whole: Path, tmp_path: Path, kills: int, workers: int
) -> None:
    """After each kill, or after two, the same command finishes the work."""
    rng = np.random.default_rng(kills)
    out_dir = tmp_path / "out"
    config = config_for(phantom_dir, out_dir, image_size=128, encoding="raw", num_workers=workers)
    struck = rounds = 0
    while struck < kills:
        # On a fast machine some runs end before they are killed: they do not count.
        rounds += 1
        assert rounds <= 5 * kills, f"{struck} of {rounds} rounds were cut"
        for _ in range(rng.integers(1, 3)):
            interrupt(config, rng)
        struck += not (out_dir / "_SUCCESS").is_file()
        subprocess.run(command(config), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        assert files_of(out_dir) == files_of(whole), rounds
        shutil.rmtree(out_dir)


def test_a_full_disk(phantom_dir: Path, whole: Path, tmp_path: Path) -> None:
    """No file may grow beyond 300 KB: as a full disk, an OSError in the middle of a shard."""
    config = config_for(phantom_dir, tmp_path / "out", image_size=128, encoding="raw")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    done = subprocess.run(
        command(config), cwd=ROOT, preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert list((tmp_path / "out").glob(".*.tmp")) == []
    subprocess.run(command(config), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert files_of(tmp_path / "out") == files_of(whole)


def test_a_disk_that_is_really_full(phantom_dir: Path, whole: Path, tmp_path: Path) -> None:
    """ENOSPC, on a file system of 4 MiB; then on one with room, from where it stopped."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("may not mount a file system")
    try:
        config = config_for(phantom_dir, small / "out", image_size=128, encoding="raw")
        done = subprocess.run(
            command(config), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        kept = sorted((small / "out").glob("*.tfrecord.json"))
        assert kept
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        times = {path.name: path.stat().st_mtime_ns for path in kept}
        subprocess.run(command(config), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        assert files_of(small / "out") == files_of(whole)
        assert {path.name: path.stat().st_mtime_ns for path in kept} == times
    finally:
        subprocess.run(["umount", str(small)], check=True)
