"""Samples of a service: memory, handles, threads and children of its processes, and its disk."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class Watched:
    """A service to sample.

    Attributes:
      name: Name of the service in reports.
      pid: Its first process; those that this one starts belong to it.
      folders: Name -> folder whose files are counted, such as `state` and `temporary`.
      files: Name -> files whose sizes are added up, such as the database and its log.
    """

    name: str
    pid: int
    folders: Mapping[str, Path] = field(default_factory=dict)
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)


def sample(watched: Watched) -> dict[str, float]:
    """Measures a service now.

    Returns:
      `rss` and `pss` (sums over its processes, MiB), `own_rss` (of the first process, MiB),
      `handles`, `threads`, `processes`, `zombies`, `close_wait` (connections that the other side
      has closed and this one has not), `<folder>_mib`, `<folder>_files` and `<files>_mib`.
    """
    values: dict[str, float] = dict.fromkeys(
        ("rss", "pss", "own_rss", "handles", "threads", "processes", "zombies", "close_wait"), 0.0
    )
    for process in _tree(watched.pid):
        # Children come and go; one that ends meanwhile is not counted.
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                values["zombies"] += 1
                continue
            rss = process.memory_info().rss / 2**20
            connections = process.net_connections("tcp")
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            pss = int(found[1]) / 1024 if (found := _PSS.search(rollup)) else rss
            values["handles"] += process.num_fds()
            values["threads"] += process.num_threads()
            values["close_wait"] += sum(
                connection.status == psutil.CONN_CLOSE_WAIT for connection in connections
            )
            values["processes"] += 1
            values["rss"] += rss
            values["pss"] += pss
            if process.pid == watched.pid:
                values["own_rss"] = rss
    for name, folder in watched.folders.items():
        values[f"{name}_mib"], values[f"{name}_files"] = folder_size(folder)
    for name, paths in watched.files.items():
        values[f"{name}_mib"] = sum(_size(path) for path in paths) / 2**20
    return values


def folder_size(folder: Path) -> tuple[float, float]:
    """Size of all files of a folder, MiB, and their number, folders among them counted."""
    size = number = 0
    for root, folders, files in os.walk(folder):
        number += len(files) + len(folders)
        size += sum(_size(Path(root) / name) for name in files)
    return size / 2**20, number


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # deleted meanwhile
        return 0


def _tree(pid: int) -> list[psutil.Process]:
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


class Sampler:
    """A thread that samples services every few seconds.

    Attributes:
      times: Time of each sample, seconds from the first.
      values: Name of the service -> name of the value -> its samples.
    """

    def __init__(self, watched: list[Watched], every_seconds: float) -> None:
        """Stores its arguments; as a context manager it runs.

        Args:
          watched: Services.
          every_seconds: Time from one sample to the next.
        """
        self._watched, self._every = watched, every_seconds
        self.times: list[float] = []
        self.values: dict[str, dict[str, list[float]]] = {each.name: {} for each in watched}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        begun = time.monotonic()
        while not self._ended.is_set():
            now = time.monotonic() - begun
            measured = [(each.name, sample(each)) for each in self._watched]
            self.times.append(now)
            for name, values in measured:
                for key, value in values.items():
                    self.values[name].setdefault(key, []).append(value)
            self._ended.wait(self._every)

    def csv(self) -> str:
        """All samples as a table: time, service, then a column for each value."""
        columns = list(dict.fromkeys(key for each in self.values.values() for key in each))
        lines = [",".join(("seconds", "service", *columns))]
        for place, seconds in enumerate(self.times):
            for name, values in self.values.items():
                cells = [f"{values[key][place]:.2f}" if key in values else "" for key in columns]
                lines.append(",".join((f"{seconds:.1f}", name, *cells)))
        return "\n".join(lines) + "\n"


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.1) -> bool:
    """Whether a condition comes true within some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True
