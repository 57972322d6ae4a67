"""Processes of a run, looked up in /proc."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

# An audit hook, which every way to open a file passes, in every process that starts with it.
_DYING = """
import os, sys
def _hook(event, args):
    if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
        if os.fsdecode(args[0]) == {path!r} and (not {after!r} or os.path.exists({after!r})):
            os.kill(os.getpid(), 9)
sys.addaudithook(_hook)
"""


def dying_at(
    path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path, after: Path | None = None
) -> None:
    """Makes every child that opens a file kill itself.

    Args:
      path: The file.
      monkeypatch: Undoes it.
      folder: Folder for the code that children run as they start.
      after: File that has to be there; None: from the start.
    """
    folder.mkdir()
    code = _DYING.format(path=str(path), after=str(after or ""))
    (folder / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.syspath_prepend(folder)


def descendants(pid: int) -> list[int]:
    """Processes that a process started, and those that these started."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    children = parents.get(pid, [])
    return [*children, *(one for child in children for one in descendants(child))]


def alive(pids: list[int]) -> list[int]:
    """Those of some processes that have not ended; a zombie has."""
    running = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            running.append(pid)
    return running


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    """Whether a condition comes true within some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
