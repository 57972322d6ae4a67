"""The commands of docs/hospital.md run as they are written there, beside a real archive."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import ROOT
from tests.support.made_up import make_run
from tests.support.orthanc import free_port, needs_dcmtk, needs_orthanc

PAGE = (ROOT / "docs/hospital.md").read_text("utf-8")
PORTS = ("ARCHIVE_PORT", "ARCHIVE_HTTP", "GATEWAY_PORT", "GATEWAY_HTTP")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A checkout with a trained run; what the page's commands leave running is ended."""
    for name in ("ich_tf", "tools", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    make_run(tmp_path / "runs/resnet50", 32, 0)
    yield tmp_path
    for path in (tmp_path / "runs").glob("trial/*.pid"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(path.read_text()), signal.SIGKILL)


@pytest.mark.slow
@needs_orthanc
@needs_dcmtk
def test_the_commands_of_the_page_run(folder: Path) -> None:
    here = Path(sys.executable).parent
    environment = {
        **os.environ,
        **{name: str(free_port()) for name in PORTS},
        "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
        # ich-tf begins elsewhere; it is this checkout that is tested.
        "PYTHONPATH": str(ROOT),
    }
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    printed = ""
    for text in blocks:
        done = subprocess.run(
            ["bash", "-eu", "-c", text],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        printed += done.stdout
    assert printed.count(" SR ") >= 3
    assert "not for clinical use" in printed
    assert not (folder / "runs/trial").exists()
