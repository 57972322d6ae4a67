"""The page's server and the gateway, each in a process and a folder of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from ich_tf.errors import InputError
from tools.soaking.sampling import Watched, wait_until

_ROOT = Path(__file__).resolve().parents[2]
# Loading TensorFlow and a model takes 10 s on an idle machine.
_START_SECONDS = 300.0
_STOP_SECONDS = 60.0
TOKEN = "soak-token-0123456789"


@dataclass
class Service:
    """A command that serves.

    Attributes:
      name: Name in reports.
      folder: Folder for all that it writes.
      port: Port of its HTTP.
      dicom_port: Port of its DIMSE; 0 without one.
      process: The process.
    """

    name: str
    folder: Path
    port: int
    dicom_port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Address of its HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """File with its output."""
        return self.folder / "log.txt"

    @property
    def state(self) -> Path:
        """Its state folder."""
        return self.folder / "state"

    @property
    def temporary(self) -> Path:
        """Its folder for temporary files."""
        return self.folder / "temporary"

    def client(self, seconds: float = 120.0) -> httpx.Client:
        """A client that sends the token."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        return httpx.Client(base_url=self.url, timeout=seconds, headers=headers, trust_env=False)

    def watched(self) -> Watched:
        """What is sampled of it."""
        folders = {"state": self.state, "temporary": self.temporary}
        files: dict[str, tuple[Path, ...]] = {"log": (self.log,)}
        if self.dicom_port:
            folders["spool"] = self.state / "spool"
            names = ("queue.sqlite", "queue.sqlite-wal", "queue.sqlite-shm")
            files["database"] = tuple(self.state / name for name in names)
        return Watched(self.name, self.process.pid, folders, files)

    def stop(self) -> int:
        """Ends it by SIGTERM; returns its exit code, -9 if it did not end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return -9


@contextmanager
def serving(
    name: str, module: str, flags: list[str], folder: Path, port: int, dicom_port: int = 0
) -> Iterator[Service]:
    """A service that runs within the block; nothing of it runs afterwards.

    Args:
      name: Name in reports.
      module: Module of the command.
      flags: Its flags.
      folder: Folder for all that it writes; it exists.
      port: Port of its HTTP.
      dicom_port: Port of its DIMSE; 0 without one.

    Raises:
      InputError: If it does not start.
    """
    (folder / "temporary").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "temporary")}
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *flags],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=_ROOT,
            env=environment,
            # A group of its own: what is left of it can be ended, and Ctrl-C reaches it only
            # through this process, which ends it in order.
            start_new_session=True,
        )
    service = Service(name, folder, port, dicom_port, process)
    try:
        _wait_ready(service)
        yield service
    finally:
        if process.poll() is None:
            service.stop()
        end_group(process.pid)
        process.wait()


def end_group(leader: int) -> None:
    """Ends all processes of a group that are left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def left_over(service: Service, seconds: float = 10.0) -> bool:
    """Whether processes of a service that has ended still run after some seconds."""

    def is_gone() -> bool:
        try:
            os.killpg(service.process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    return not wait_until(is_gone, seconds)


def _wait_ready(service: Service) -> None:
    end = time.monotonic() + _START_SECONDS
    with service.client(10.0) as client:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if client.get("/healthz").status_code == 200:
                    return
            if service.process.poll() is not None or time.monotonic() > end:
                text = service.log.read_text("utf-8", "replace")[-2000:]
                raise InputError(f"{service.name} does not start: {text}")
            time.sleep(0.2)


def page(work_dir: Path, folder: Path, port: int, samples: Path) -> list[str]:
    """Writes the flags of the page's server; small limits, so that load reaches them soon."""
    flags = folder / "page.flags"
    token = _token_file(folder)
    text = f"""
        --work_dir={work_dir}
        --port={port}
        --token_file={token}
        --state_dir={folder / "state"}
        --samples_dir={samples}
        --body_mb=8
        --unpacked_mb=32
        --files=200
        --min_free_mb=64
        --kept_studies=6
        --kept_minutes=1
    """
    flags.write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n")
    return [f"--flagfile={flags}"]


def gateway(
    work_dir: Path,
    folder: Path,
    port: int,
    dicom_port: int,
    destination: str,
    webhook: str,
    kept_seconds: float,
) -> list[str]:
    """Writes the config of the gateway; what is finished is soon deleted.

    Args:
      work_dir: Folder of the model.
      folder: Folder for all that the gateway writes.
      port: Port of HTTP.
      dicom_port: Port of DIMSE.
      destination: Section `[destination]` without its heading.
      webhook: Address of the webhook.
      kept_seconds: Time for which rows of finished studies are kept.
    """
    token = _token_file(folder)
    config = folder / "gateway.toml"
    config.write_text(
        f"""
        [model]
        work_dir = "{work_dir}"
        num_workers = 2
        [receiver]
        enabled = true
        port = {dicom_port}
        calling_ae_titles = ["SCANNER"]
        [stow]
        enabled = true
        [destination]
        {destination}
        timeout_seconds = 10
        first_retry_seconds = 1
        max_retry_seconds = 4
        [http]
        port = {port}
        token_file = "{token}"
        [webhook]
        url = "{webhook}"
        timeout_seconds = 2
        [keep]
        state_dir = "{folder / "state"}"
        failed_hours = {kept_seconds / 3600:.6f}
        rows_days = {kept_seconds / 86400:.6f}
        [study]
        stable_seconds = 2
        identify_by = "accession"
        [limits]
        idle_seconds = 30
        association_mb = 32
        free_mb = 64
        """
    )
    return [f"--config={config}"]


def _token_file(folder: Path) -> Path:
    token = folder / "token"
    token.touch(0o600)
    token.write_text(TOKEN)
    return token
