"""Secrets that a command is given, and all places where they could be found again."""

from __future__ import annotations

import base64
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.commands import ROOT
from tests.support.processes import descendants

# What a patient's file holds; put together, since tracebacks show lines of the code.
PATIENT = ("Zweig" + "stein", "Lud" + "milla")


def forms(secret: str) -> set[bytes]:
    """A secret as texts hold it: plain, quoted for URLs, in base64 at any place, in hex."""
    data = secret.encode()
    found = {data, urllib.parse.quote(secret, safe="").encode(), data.hex().encode()}
    for shift in range(3):
        # Characters that depend on the secret alone.
        text = base64.b64encode(b"\0" * shift + data)
        found.add(text[-(-8 * shift // 6) : len(text) - 4])
    return found


def leaks(secret: str, places: Mapping[str, bytes]) -> list[str]:
    """Names of the places that hold a secret."""
    return [name for name, data in places.items() if any(form in data for form in forms(secret))]


def files_below(folders: Iterable[Path], except_for: Iterable[Path] = ()) -> dict[str, bytes]:
    """Names and contents of all files of folders, by their paths."""
    left_out = set(except_for)
    return {
        str(path): str(path).encode() + b"\0" + path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path not in left_out
    }


@dataclass
class Watched:
    """A command under watch.

    Attributes:
      process: Its process.
      seen: Command lines and environments of all its processes, by pid and kind.
    """

    process: subprocess.Popen[bytes]
    log: Path
    seen: dict[str, bytes] = field(default_factory=dict)

    def watch(self) -> None:
        """Looks at /proc until the process has ended."""
        while self.process.poll() is None:
            for pid in [self.process.pid, *descendants(self.process.pid)]:
                for kind in ("cmdline", "environ"):
                    try:
                        data = Path(f"/proc/{pid}/{kind}").read_bytes()
                    except OSError:
                        continue
                    name = f"{kind} of {pid}"
                    self.seen[name] = self.seen.get(name, b"") + data
            time.sleep(0.02)

    def places(self) -> dict[str, bytes]:
        """What was seen, and what was printed."""
        return {**self.seen, "output": self.log.read_bytes()}


def start(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str], umask: int = 0o022
) -> Watched:
    """Starts a command whose output goes to a file, under watch."""
    with open(log, "ab") as out:
        process = subprocess.Popen(
            list(arguments),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=dict(environment),
            umask=umask,
        )
    watched = Watched(process, log)
    threading.Thread(target=watched.watch, daemon=True).start()
    return watched
