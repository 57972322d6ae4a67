"""Private folders go with their process, also with one that was killed."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ich_tf.runtime.private_folder import make_private_folder, remove_private_folder

MAKE = """
import sys, time
from ich_tf.runtime.private_folder import make_private_folder
(make_private_folder() / "model").write_text("x")
print("made", flush=True)
if sys.argv[1] == "wait":
    time.sleep(60)
elif sys.argv[1] == "fail":
    raise ValueError
"""


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def process(temporary: Path, what: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "TMPDIR": str(temporary)}
    return subprocess.Popen(
        [sys.executable, "-c", MAKE, what],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def age(temporary: Path) -> None:
    for path in temporary.iterdir():
        os.utime(path, (time.time() - 3600,) * 2)


def test_no_other_user_can_read_it(temporary: Path) -> None:
    former = os.umask(0)
    try:
        folder = make_private_folder()
    finally:
        os.umask(former)
    for path in (folder, folder.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    remove_private_folder(folder)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("what", ["end", "fail"])
def test_it_goes_when_the_process_ends(temporary: Path, what: str) -> None:
    ended = process(temporary, what)
    assert ended.communicate()[0] == "made\n"
    assert not list(temporary.iterdir())


def test_that_of_a_killed_process_goes_at_the_next_start(temporary: Path) -> None:
    running, killed = process(temporary, "wait"), process(temporary, "wait")
    try:
        for each in (running, killed):
            assert each.stdout is not None and each.stdout.readline() == "made\n"
        age(temporary)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert len(list(temporary.iterdir())) == 2
        remove_private_folder(make_private_folder())
        # The one of the process that runs is left alone.
        (left,) = temporary.iterdir()
        assert (left / "content" / "model").is_file()
    finally:
        for each in (running, killed):
            each.kill()
            each.communicate()


def test_what_others_put_there_is_left_alone(temporary: Path) -> None:
    victim = temporary / "victim"
    victim.mkdir()
    (temporary / "ich_tf-private-link").symlink_to(victim, target_is_directory=True)
    (temporary / "ich_tf-private-file").write_text("x")
    age(temporary)
    remove_private_folder(make_private_folder())
    assert victim.is_dir() and len(list(temporary.iterdir())) == 3


def test_a_forked_process_leaves_its_parent_s_folder(temporary: Path) -> None:
    folder = make_private_folder()
    code = "import os, sys; from ich_tf.runtime.private_folder import make_private_folder as m\n"
    code += "f = m()\nif os.fork() == 0:\n    sys.exit()\nos.wait(); print(f.is_dir())"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
    remove_private_folder(folder)
