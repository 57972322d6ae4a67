"""Commands, run as a user would run them."""

import subprocess
import sys
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[2]


class Command(Protocol):
    """`python -m <module> <flags>` from the project's folder, whose exit code must be `code`."""

    def __call__(
        self, module: str, *flags: str, code: int = 0
    ) -> subprocess.CompletedProcess[str]: ...


def run(module: str, *flags: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs `python -m <module> <flags>`; with another exit code than `code` the test fails."""
    done = subprocess.run(
        [sys.executable, "-m", module, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, f"{done.args}\n{done.stdout}\n{done.stderr}"
    if code:
        assert "Traceback" not in done.stderr, done.stderr
    return done
