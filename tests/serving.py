"""A server in the test's own process or in one of its own, and what tests ask of it."""

import io
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from ich_tf.series_predictor import load_predictor
from ich_tf.serving.api import make_app
from ich_tf.serving.config import ServeConfig
from ich_tf.serving.limits import Limits
from ich_tf.serving.server import address, listen, make_server
from ich_tf.strategies import make_strategy

Upload = tuple[str, bytes]


@contextmanager
def running(
    work_dir: Path, state_dir: Path, limits: Limits | None = None, **fields: Any
) -> Iterator[httpx.Client]:
    """A client of a server that runs while the block does."""
    config = ServeConfig(work_dir=str(work_dir), state_dir=str(state_dir), port=0, **fields)
    predictor = load_predictor(config.work_dir, make_strategy("mirrored"))
    with listen(config) as listening:
        server = make_server(make_app(config, predictor, limits))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            with httpx.Client(base_url=address(listening), timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(60)


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
        while not self._ended.wait(0.05):
            with suppress(psutil.NoSuchProcess):
                members = [server, *server.children(recursive=True)]
                self.peak = max(self.peak, sum(one.memory_info().rss for one in members))

    def end(self) -> None:
        """No more looking."""
        self._ended.set()


@contextmanager
def started(work_dir: Path, state_dir: Path, *flags: str) -> Iterator[Service]:
    """The command, once it answers; told to stop in the end if it still runs."""
    log = state_dir.with_suffix(".log")
    command = [sys.executable, "-m", "ich_tf.serve", f"--work_dir={work_dir}"]
    command += [f"--state_dir={state_dir}", "--port=0", *flags]
    with open(log, "ab") as out:
        begin = out.tell()
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=Path(__file__).parents[1])
    try:
        end = time.monotonic() + 120
        while not (found := re.search(r"http://\S+", log.read_bytes()[begin:].decode())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
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
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def files_of(folder: Path, most: int = 1000) -> list[Upload]:
    """Names and bytes of a folder's files."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    return [(path.name, path.read_bytes()) for path in paths[:most]]


def zipped(files: Sequence[Upload], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return buffer.getvalue()


def post(client: httpx.Client, files: Sequence[Upload]) -> Any:
    """The answer to an upload."""
    return client.post("/api/studies", files=[("files", one) for one in files])


def wait(client: httpx.Client, study_id: str, seconds: float = 30.0) -> dict[str, Any]:
    """A study once it is done or failed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = client.get(f"/api/studies/{study_id}")
        assert answer.status_code == 200, answer.text
        study = answer.json()
        if study["state"] in ("done", "failed"):
            return study
        time.sleep(0.02)
    raise AssertionError(f"not done after {seconds} s: {study}")


def served(client: httpx.Client, files: Sequence[Upload], seconds: float = 30.0) -> dict[str, Any]:
    """What comes of an upload."""
    answer = post(client, files)
    assert answer.status_code == 202, answer.text
    return wait(client, answer.json()["study_id"], seconds)
