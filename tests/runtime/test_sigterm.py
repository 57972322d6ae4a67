"""SIGTERM within `Interruption` is a request; outside the main thread nothing changes."""

import os
import signal
import subprocess
import sys
import threading

from ich_tf.runtime.sigterm import Interruption


def test_sigterm_sets_requested_and_the_former_handler_comes_back() -> None:
    former = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        assert not interruption.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.requested
    assert signal.getsignal(signal.SIGTERM) is former


def test_a_second_sigterm_ends_the_process() -> None:
    code = (
        "import os, signal\n"
        "from ich_tf.runtime.sigterm import Interruption\n"
        "with Interruption():\n"
        "    for _ in range(2):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGTERM


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
