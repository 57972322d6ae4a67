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
