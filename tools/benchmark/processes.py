"""A command, run and weighed: how long it took, and the most memory each process held."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

import psutil

from ich_tf.errors import InputError

_SECONDS_BETWEEN_LOOKS = 0.02


@dataclass(frozen=True)
class Weighed:
    """What a command took.

    Attributes:
      seconds: From start to end, imports included.
      main_mib: The most its own process held, resident.
      worker_mib: The most that any one of its children held; 0 where it had none.
    """

    seconds: float
    main_mib: float
    worker_mib: float


def run_weighed(module: str, *flags: str) -> Weighed:
    """Runs `python -m <module> <flags>` and looks at its processes 50 times a second.

    Raises:
      InputError: If it fails.
    """
    begun = time.perf_counter()
    command = [sys.executable, "-m", module, *flags]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    main, workers = 0, 0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        main = max(main, _resident(watched))
        workers = max([workers, *map(_resident, _children(watched))])
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    seconds = time.perf_counter() - begun
    assert process.stderr is not None
    if process.returncode:
        raise InputError(f"{module} failed: {process.stderr.read().strip()[-500:]}")
    return Weighed(seconds, main / 2**20, workers / 2**20)


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
