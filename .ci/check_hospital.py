"""The commands of docs/hospital.md, as they are written there, beside a real archive.

  python check_hospital.py

Run by .ci/gateway, in a folder of its own where a trained run lies.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.commands import ROOT
from tests.support.gateways import check
from tests.support.made_up import make_run
from tests.support.orthanc import free_port

PORTS = ("ARCHIVE_PORT", "ARCHIVE_HTTP", "GATEWAY_PORT", "GATEWAY_HTTP")


def run_page(folder: Path) -> str:
    """Runs the page's blocks in their order; what they print."""
    environment = {
        **os.environ,
        **{name: str(free_port()) for name in PORTS},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # ich-tf begins elsewhere; it is this checkout that is tested.
        "PYTHONPATH": str(ROOT),
    }
    page = (ROOT / "docs/hospital.md").read_text("utf-8")
    printed = ""
    for text in re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        done = subprocess.run(
            ["bash", "-eu", "-c", text],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        check(not done.returncode, f"docs/hospital.md\n{text}\n{done.stdout}\n{done.stderr}")
        printed += done.stdout
    return printed


def main() -> None:
    """Runs the page, and ends what it leaves running."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("ich_tf", "tools", "configs"):
            (folder / part).symlink_to(ROOT / part)
        make_run(folder / "runs/resnet50", 32, 0)
        try:
            printed = run_page(folder)
        finally:
            for path in folder.glob("runs/trial/*.pid"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(path.read_text()), signal.SIGKILL)
        check(printed.count(" SR ") >= 3, f"docs/hospital.md: reports are missing\n{printed}")
        check("not for clinical use" in printed, "docs/hospital.md: no report is shown")
        check(not (folder / "runs/trial").exists(), "docs/hospital.md leaves something behind")
    print("the commands of docs/hospital.md work")


if __name__ == "__main__":
    main()
