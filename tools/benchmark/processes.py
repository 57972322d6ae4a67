"""Duration, peak memory and system calls of a command and its processes."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from ich_tf.errors import InputError

_SECONDS_BETWEEN_SAMPLES = 0.02


@dataclass(frozen=True)
class ResourceUsage:
    """Duration and memory of a command.

    Attributes:
      seconds: Duration including imports, s.
      cpu_seconds: Time of its processes on the processors, s.
      main_mib: Peak resident memory of the command's own process, MiB.
      worker_mib: Peak resident memory of any child process, MiB; 0 without children.
    """

    seconds: float
    cpu_seconds: float
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
    begun, cpu_before = time.perf_counter(), _children_cpu_seconds()
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
    cpu_seconds = _children_cpu_seconds() - cpu_before
    return ResourceUsage(seconds, cpu_seconds, main_peak / 2**20, worker_peak / 2**20)


def count_system_calls(module: str, *flags: str) -> int | None:
    """Number of system calls of `python -m <module> <flags>` and its processes.

    Args:
      module: Module of the command.
      *flags: Flags of the command.

    Returns:
      The number; None without strace.

    Raises:
      InputError: If the command fails.
    """
    strace = shutil.which("strace")
    if strace is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        command = [strace, "-f", "-c", "-qq", "-o", str(counts), sys.executable, "-m", module]
        done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
        if done.returncode:
            raise InputError(f"{module} failed: {done.stderr.strip()[-500:]}")
        # The last line sums up: share of the time, seconds, microseconds a call, calls, ...
        return int(counts.read_text().splitlines()[-1].split()[3])


def _children_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


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
