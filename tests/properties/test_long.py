"""The properties again, on many examples; the same each time, since a check is no lottery."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_properties_hold_on_many_examples(tmp_path: Path) -> None:
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
    pytest_ += ["--hypothesis-seed=1"]
    done = subprocess.run(
        [*pytest_, f"--basetemp={tmp_path / 'tests'}", str(Path(__file__).parent)],
        env={**os.environ, "PROPERTY_EXAMPLES": "200"},
        text=True,
        capture_output=True,
    )
    assert not done.returncode, done.stdout[-20_000:] + done.stderr
