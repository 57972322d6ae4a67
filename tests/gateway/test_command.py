"""ich-tf gateway: a study by STOW-RS, a real model, the worklist, the webhook, and its end."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.commands import ROOT, Command
from tests.support.ct_study import write_study
from tests.support.made_up import make_run
from tests.support.processes import wait_until
from tests.support.secret_files import write_secret

TOKEN = "0123456789abcdef"
CONFIG = """
[model]
work_dir = "run"
num_workers = 1
[stow]
enabled = true
[study]
stable_seconds = 1
[keep]
state_dir = "state"
[http]
port = 0
token_file = "token"
[webhook]
url = "http://127.0.0.1:PORT/hook"
token_file = "token"
"""


@contextmanager
def hook() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A server that fails once, and then takes what is posted."""
    taken: list[dict[str, Any]] = []
    answers = [500]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body["token"] = self.headers["Authorization"]
            status = answers.pop() if answers else 204
            if status == 204:
                taken.append(body)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, taken
    finally:
        server.shutdown()
        server.server_close()


def stow(client: httpx.Client, paths: list[Path]) -> httpx.Response:
    head = b"--B\r\nContent-Type: application/dicom\r\n\r\n"
    body = b"".join(head + path.read_bytes() + b"\r\n" for path in paths) + b"--B--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=B'
    return client.post("/dicom-web/studies", content=body, headers={"Content-Type": kind})


@pytest.mark.slow
def test_a_study_goes_all_the_way(tmp_path: Path, run_command: Command) -> None:
    make_run(tmp_path / "run", 64, 1)
    write_secret(tmp_path / "token", TOKEN)
    config = tmp_path / "gateway.toml"
    series = write_study(tmp_path / "in", ("standard",), patient="SECRET-ID")
    with hook() as (port, taken):
        config.write_text(CONFIG.replace("PORT", str(port)))
        log = tmp_path / "log"
        with open(log, "wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "ich_tf", "gateway", f"--config={config}", "--dry_run"],
                cwd=ROOT,
                stderr=file,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        try:
            assert wait_until(lambda: "worklist at" in log.read_text(), 120), log.read_text()
            (url,) = re.findall(r"worklist at (\S+)", log.read_text())
            asks = {"Authorization": f"Bearer {TOKEN}"}
            with httpx.Client(base_url=url, headers=asks, timeout=60) as client:
                assert stow(client, series["standard"]).status_code == 200
                assert wait_until(lambda: taken, 90), log.read_text()
                worklist = client.get("/api/worklist").json()
                assert client.get("/readyz").status_code == 200
                assert "ich_tf_gateway_prediction_seconds_count 1.0" in client.get("/metrics").text
            done = run_command("ich_tf.gateway", f"--config={config}", code=1)
            assert "another run writes there" in done.stderr
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
    (study,) = worklist["studies"]
    assert (study["state"], study["images"], study["results"] > 0) == ("done", 6, True)
    assert 0 < study["urgency"] < 1 and worklist["dry_run"]
    (posted,) = taken
    assert posted == {**study, "token": f"Bearer {TOKEN}"}
    text = log.read_text()
    assert "study 1: no destination is set for " in text and "status 500" in text
    assert "SECRET" not in text and str(series["standard"][0].stem) not in text
    assert not list((tmp_path / "state/studies").iterdir())


def test_a_wrong_config_is_one_line(tmp_path: Path, run_command: Command) -> None:
    done = run_command("ich_tf.gateway", f"--config={tmp_path}/none.toml", code=2)
    assert "none.toml: cannot be read" in done.stderr and "configs/gateway.toml" in done.stderr
    path = tmp_path / "x.toml"
    path.write_text("[receiver]\nports = 1")
    done = run_command("ich_tf.gateway", f"--config={path}", code=2)
    assert "[receiver] ports is unknown. Did you mean port?" in done.stderr
    assert "Traceback" not in done.stderr
