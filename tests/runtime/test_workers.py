"""Worker processes: they keep the order, end with their parent, and one that dies costs nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ich_tf.errors import InputError
from ich_tf.runtime.executors.local import LocalExecutor
from ich_tf.runtime.sandbox import Sandbox
from tests.support.commands import ROOT
from tests.support.marks import slow
from tests.support.processes import alive, descendants, wait_until


def double(number: int) -> int:
    return 2 * number


def divide(number: int) -> float:
    return 1 / number


def die_at_7(number: int) -> int:
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(path: Path) -> str:
    if path.suffix == ".once" and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def negative(number: int) -> int:
    return -number


def pid_and_sleep(path: Path) -> None:
    Sandbox("tests.runtime.test_workers:sleeper", own_session=False).send(b"")
    path.touch()
    time.sleep(600)


def sleeper():
    return lambda message: [time.sleep(600) or b""]


def test_results_keep_their_order_and_errors_are_raised() -> None:
    with LocalExecutor(2) as executor:
        assert list(executor.map(double, range(100))) == [2 * number for number in range(100)]
        with pytest.raises(ZeroDivisionError):
            list(executor.map(divide, [1, 0]))
        assert list(executor.map(divide, [1, 2])) == [1, 0.5]
        with pytest.raises(Exception, match="pickle"):
            list(executor.map(lambda item: item, [1]))


def test_a_worker_that_dies_loses_the_item_that_killed_it_alone(tmp_path: Path) -> None:
    with LocalExecutor(2) as executor:
        expected = [-number if number == 7 else number for number in range(40)]
        assert list(executor.map(die_at_7, range(40), on_death=negative)) == expected
        with pytest.raises(InputError, match="died more than once"):
            list(executor.map(die_at_7, range(9)))
        paths = [tmp_path / "a", tmp_path / "b.once", tmp_path / "c"]
        assert list(executor.map(die_once, paths)) == ["a", "b.once", "c"]


CODE = """
import sys
from pathlib import Path
from ich_tf.runtime.executors.local import LocalExecutor
from tests.runtime.test_workers import pid_and_sleep
if __name__ == "__main__":
    try:
        with LocalExecutor(2) as executor:
            list(executor.map(pid_and_sleep, [Path(name) for name in sys.argv[1:]]))
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, slow(signal.SIGINT), slow(signal.SIGTERM)])
def test_nothing_outlives_its_parent(tmp_path: Path, number: int) -> None:
    """Workers and their sandboxes, all of them in the middle of something."""
    (tmp_path / "code.py").write_text(CODE)
    files = [tmp_path / "one", tmp_path / "two"]
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "code.py"), *map(str, files)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    wait_until(lambda: all(path.exists() for path in files), 60)
    children = descendants(process.pid)
    assert len(children) >= 4
    if number == signal.SIGINT:  # as a terminal sends it: to all
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    output, _ = process.communicate(timeout=5)
    wait_until(lambda: not alive(children), 5)
    assert not alive(children)
    assert output == ("interrupted\n" if number == signal.SIGINT else "")
