"""Duration and peak memory of a command and its processes."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

import psutil

from ich_tf.errors import InputError

_SECONDS_BETWEEN_SAMPLES = 0.02


@dataclass(frozen=True)
class ResourceUsage:
    """Duration and memory of a command.

    Attributes:
      seconds: Duration including imports, s.
      main_mib: Peak resident memory of the command's own process, MiB.
      worker_mib: Peak resident memory of any child process, MiB; 0 without children.
    """

    seconds: float
    main_mib: float
    worker_mib: float


def run_measured(module: str, *flags: str) -> ResourceUsage:
    """Runs `python -m <module> <flags>` and samples the memory of its processes at 50 Hz.

    Args:
      module: Module of the command.
      *flags: Flags of the command.

    Raises:
      InputError: If the command fails.
    """
    begun = time.perf_counter()
    command = [sys.executable, "-m", module, *flags]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    main_peak, worker_peak = 0, 0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        main_peak = max(main_peak, _resident(watched))
        worker_peak = max([worker_peak, *map(_resident, _children(watched))])
        time.sleep(_SECONDS_BETWEEN_SAMPLES)
    seconds = time.perf_counter() - begun
    assert process.stderr is not None
    if process.returncode:
        raise InputError(f"{module} failed: {process.stderr.read().strip()[-500:]}")
    return ResourceUsage(seconds, main_peak / 2**20, worker_peak / 2**20)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
