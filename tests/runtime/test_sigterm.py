"""SIGTERM within `Interruption` is a request; outside the main thread nothing changes."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ich_tf.runtime.sigterm import Interruption


def test_sigterm_sets_requested_and_the_former_handler_comes_back() -> None:
    former = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        assert not interruption.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.requested
    assert signal.getsignal(signal.SIGTERM) is former


def test_a_later_sigterm_ends_the_process_and_not_the_same_one_again() -> None:
    code = (
        "import os, signal, time\n"
        "from ich_tf.runtime.sigterm import Interruption\n"
        "with Interruption(lambda: print('passed on', flush=True)):\n"
        "    for _ in range(2):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('here', flush=True)\n"
        "    time.sleep(1.1)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGTERM
    assert done.stdout.split("\n") == ["passed on", "here", ""]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_ends_in_order(number: int, tmp_path: Path) -> None:
    """Its temporary files go, also where code outlives whatever a file causes."""
    code = (
        "import os, signal, tempfile\n"
        "from ich_tf.runtime.sigterm import end_in_order\n"
        # Under nohup it would be ignored, as whoever asked for that wants.
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "end_in_order(143)\n"
        f"with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}):\n"
        "    try:\n"
        f"        for _ in range(2): os.kill(os.getpid(), {int(number)})\n"
        "    except Exception:\n"
        "        print('not ended')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (143, "")
    assert done.stderr == "Terminated. Run the same command again to continue.\n"
    assert not list(tmp_path.iterdir())


def test_a_thread_leaves_the_handler_alone() -> None:
    handlers = []

    def enter() -> None:
        with Interruption():
            handlers.append(signal.getsignal(signal.SIGTERM))

    former = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [former]
