"""`python -m ich_tf.serve` in a process of its own: started, watched, told to stop."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 120.0
_STOP_SECONDS = 30.0
_SECONDS_BETWEEN_LOOKS = 0.05


@dataclass
class Service:
    """A server in a process of its own.

    Attributes:
      process: The command.
      client: Of it.
      log: What it writes.
      peak: Greatest memory of all its processes together that was seen, bytes.
    """

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path
    peak: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Looks at the memory until the end."""
        server = psutil.Process(self.process.pid)
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            with suppress(psutil.NoSuchProcess):
                members = [server, *server.children(recursive=True)]
                self.peak = max(self.peak, sum(one.memory_info().rss for one in members))

    def end(self) -> None:
        """No more looking."""
        self._ended.set()


@contextmanager
def started(work_dir: Path, state_dir: Path, *flags: str) -> Iterator[Service]:
    """The command, once it answers; told to stop in the end if it still runs.

    Args:
      work_dir: Of the model.
      state_dir: Of the server; its log is written beside it.
      *flags: More of them.

    Raises:
      RuntimeError: If it does not start; its log is the message.
    """
    log = state_dir.with_suffix(".log")
    command = [sys.executable, "-m", "ich_tf.serve", f"--work_dir={work_dir}"]
    command += [f"--state_dir={state_dir}", "--port=0", *flags]
    with open(log, "ab") as out:
        begin = out.tell()
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=_ROOT)
    try:
        end = time.monotonic() + _START_SECONDS
        while not (found := re.search(r"http://\S+", log.read_bytes()[begin:].decode())):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server does not start: {log.read_text()}")
            time.sleep(0.1)
        with httpx.Client(base_url=found[0], timeout=60) as client:
            service = Service(process, client, log)
            watching = threading.Thread(target=service.watch, daemon=True)
            watching.start()
            try:
                # It listens before the model is warm, and answers then.
                client.get("/healthz").raise_for_status()
                yield service
            finally:
                service.end()
                watching.join()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
