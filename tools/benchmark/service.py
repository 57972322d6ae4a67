"""A server, `python -m ich_tf.serve`, in a process of its own."""

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
_SECONDS_BETWEEN_SAMPLES = 0.05


@dataclass
class Service:
    """A server in a process of its own.

    Attributes:
      process: Process of the command.
      client: HTTP client with the server's address.
      log: File with the server's output.
      peak: Peak resident memory of all its processes together, bytes, sampled at 20 Hz.
    """

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path
    peak: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Samples the memory until `end` is called."""
        server = psutil.Process(self.process.pid)
        while not self._ended.wait(_SECONDS_BETWEEN_SAMPLES):
            with suppress(psutil.NoSuchProcess):
                members = [server, *server.children(recursive=True)]
                self.peak = max(self.peak, sum(member.memory_info().rss for member in members))

    def end(self) -> None:
        """Ends `watch`."""
        self._ended.set()


@contextmanager
def started(work_dir: Path, state_dir: Path, *flags: str) -> Iterator[Service]:
    """Starts the server, and stops it at the end of the context.

    Args:
      work_dir: Folder of the model.
      state_dir: Folder of the server's studies; the log is written beside it.
      *flags: More flags of the server.

    Raises:
      RuntimeError: If the server does not start; the message holds its log.
    """
    log = state_dir.with_suffix(".log")
    command = [sys.executable, "-m", "ich_tf.serve", f"--work_dir={work_dir}"]
    command += [f"--state_dir={state_dir}", "--port=0", *flags]
    with open(log, "ab") as out:
        begin = out.tell()
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=_ROOT)
    try:
        end = time.monotonic() + _START_SECONDS
        while not (address := re.search(r"http://\S+", log.read_bytes()[begin:].decode())):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server does not start: {log.read_text()}")
            time.sleep(0.1)
        with httpx.Client(base_url=address[0], timeout=60) as client:
            service = Service(process, client, log)
            watching = threading.Thread(target=service.watch, daemon=True)
            watching.start()
            try:
                # The server listens before the model is loaded, and answers afterwards.
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
