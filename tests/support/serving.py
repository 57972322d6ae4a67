"""A server in the test's own process, and what its tests ask of it again and again."""

import io
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from ich_tf.inference.series_predictor import load_predictor
from ich_tf.runtime.strategies import make_strategy
from ich_tf.serving.api import make_app
from ich_tf.serving.config import ServeConfig
from ich_tf.serving.limits import Limits
from ich_tf.serving.server import address, listen, make_server

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
    return client.post("/api/studies", files=[("files", file) for file in files])


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


def served_all(
    client: httpx.Client, files: Sequence[Upload], seconds: float = 30.0
) -> list[dict[str, Any]]:
    """The studies that come of an upload."""
    first = served(client, files, seconds)
    return [first, *(wait(client, key, seconds) for key in first["upload"][1:])]


def served(client: httpx.Client, files: Sequence[Upload], seconds: float = 30.0) -> dict[str, Any]:
    """What comes of an upload."""
    answer = post(client, files)
    assert answer.status_code == 202, answer.text
    return wait(client, answer.json()["study_id"], seconds)
