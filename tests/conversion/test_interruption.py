"""Conversions that a full disk cuts off."""

import resource
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import ROOT
from tests.support.conversions import config_for, conversion_command, files_of, undisturbed


@pytest.fixture(scope="module")
def whole(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undisturbed(phantom_dir, tmp_path_factory.mktemp("interruption") / "whole")


def test_a_full_disk(phantom_dir: Path, whole: Path, tmp_path: Path) -> None:
    """No file may grow beyond 300 KB: as a full disk, an OSError in the middle of a shard."""
    config = config_for(phantom_dir, tmp_path / "out", image_size=128, encoding="raw")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    done = subprocess.run(
        conversion_command(config),
        cwd=ROOT,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert list((tmp_path / "out").glob(".*.tmp")) == []
    subprocess.run(conversion_command(config), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
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
            conversion_command(config), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        kept = sorted((small / "out").glob("*.tfrecord.json"))
        assert kept
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        times = {path.name: path.stat().st_mtime_ns for path in kept}
        subprocess.run(conversion_command(config), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        assert files_of(small / "out") == files_of(whole)
        assert {path.name: path.stat().st_mtime_ns for path in kept} == times
    finally:
        subprocess.run(["umount", str(small)], check=True)
