"""Exit codes of commands, and what an error prints."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import Command


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--imagesize=3"], "Unknown command line flag 'imagesize'"),
        (["--image_size=big"], "image_size"),
        (["--image_size=3"], "image_size is 3; it must be in [16, 4096]"),
        (["--encoding=gif"], "encoding"),
        (["stray"], "Not a flag: stray"),
        (["--flagfile=/none.flags"], "none.flags"),
    ],
)
def test_wrong_usage_exits_with_2(run_command: Command, flags: list[str], message: str) -> None:
    assert message in run_command("tools.make_tfrecords", *flags, code=2).stderr


def test_a_missing_folder_exits_with_1_and_one_paragraph(
    run_command: Command, tmp_path: Path
) -> None:
    done = run_command(
        "tools.make_tfrecords", f"--dicom_dir={tmp_path}/none", "--labels_csv=", code=1
    )
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "no such file or folder" in line
    assert f"{tmp_path}/none" in line


def test_debug_shows_the_traceback(run_command: Command, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.verify_tfrecords", f"--data_dir={tmp_path}", "--debug"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
