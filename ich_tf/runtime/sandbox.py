"""Sandbox: a child process for code that reads bytes from strangers.

A crash, an endless loop or an allocation without bounds ends the child alone, and the next message
starts a new one. Messages are bytes, framed by their length; nothing is unpickled on either side.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection

from ich_tf.runtime.debugging import VARIABLE, is_debugging, scrub_tracebacks
from ich_tf.runtime.logs import format_last_resort

# Message -> the messages that answer it.
Handler = Callable[[bytes], Iterable[bytes]]

# Python and its libraries start within a second; on a busy machine within this.
_START_SECONDS = 60.0
# A process that crashed reports the reason in its exit code, if it is not killed at once.
_EXIT_SECONDS = 0.2
_CODE = "from ich_tf.runtime.sandbox import run_child; run_child()"
_READY = b"ready"
# No other variable reaches the child: tokens and passwords are often kept in the environment.
_ENVIRONMENT = (
    "PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "TMPDIR", "VIRTUAL_ENV",
    VARIABLE,
)  # fmt: skip


class SandboxDied(Exception):  # noqa: N818 - the child's end, which callers expect
    """The child process ended before it answered.

    Attributes:
      code: Exit code; the negative number of the signal that killed the child; None if unknown.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__(f"the process ended (code {code})")
        self.code = code


class Sandbox:
    """A child process that answers messages, started on demand; used by one thread at a time.

    Examples:
      sandbox = Sandbox("my_module:make_handler", private_bytes=2**30)
      sandbox.send(b"question")
      answer = sandbox.receive(timeout_seconds=8.0)
    """

    def __init__(
        self,
        target: str,
        *,
        private_bytes: int | None = None,
        added_bytes: int | None = None,
        cpu_seconds: int | None = None,
        own_session: bool = True,
    ) -> None:
        """Stores the description of the process, and starts nothing.

        Args:
          target: `module:function` to call in the child. The function takes no arguments, loads
            what it needs, and returns a `Handler`. Memory is limited once it has returned.
          private_bytes: Limit of private memory, with that of libraries (RLIMIT_DATA).
          added_bytes: Limit of address space beyond what is mapped once `target` has returned
            (RLIMIT_AS): libraries map far more than they use.
          cpu_seconds: Limit of CPU time from one message, or answer, to the next answer: unlike
            time on the clock, it is the same on a machine that is busy. The code of a child that
            exceeds it is -SIGXCPU.
          own_session: Whether the child leads a session and a process group, so that processes
            that it starts are killed with it. False for a sandbox within a sandbox, which has to
            stay in the group of the outer one.
        """
        self._target = target
        self._memory = {"private_bytes": private_bytes, "added_bytes": added_bytes}
        self._cpu_seconds = cpu_seconds
        self._own_session = own_session
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._owner = 0

    @property
    def pid(self) -> int | None:
        """Process id of the child; None if it does not run."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Starts the child if it does not run, and waits until it is ready.

        Raises:
          OSError: If it cannot be started, or is not ready within a minute.
          SandboxDied: If it ended before it was ready.
        """
        # A forked copy of this process must not talk on its parent's connection.
        if self._process is not None and self._owner == os.getpid():
            return
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        arguments = [
            str(theirs.fileno()),
            self._target,
            json.dumps([self._memory, self._cpu_seconds]),
        ]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CODE, *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if is_debugging() else subprocess.DEVNULL,
                env=environment,
                start_new_session=self._own_session,
            )
        self._connection = Connection(ours.detach())
        self._owner = os.getpid()
        if self.receive(_START_SECONDS) is None:
            text = f"{self._target} was not ready within {_START_SECONDS:g} s"
            raise TimeoutError(errno.ETIMEDOUT, text)

    def send(self, message: bytes) -> None:
        """Sends a message to the child, which is started if it does not run.

        Raises:
          OSError: As `start`.
          SandboxDied: If the child has ended.
        """
        self.start()
        assert self._connection is not None
        try:
            self._connection.send_bytes(message)
        except OSError as error:
            raise SandboxDied(self.close()) from error

    def receive(self, timeout_seconds: float, max_bytes: int | None = None) -> bytes | None:
        """Waits for a message of the child.

        Args:
          timeout_seconds: Longest time to wait.
          max_bytes: Longest message to accept; None for any length.

        Returns:
          The message; None if none came in time, in which case the child was killed.

        Raises:
          SandboxDied: If the child ended, or sent a message that is too long.
        """
        assert self._connection is not None, "a message was sent before"
        try:
            if self._connection.poll(timeout_seconds):
                return self._connection.recv_bytes(max_bytes)
        except (EOFError, OSError) as error:
            raise SandboxDied(self.close()) from error
        self.close()
        return None

    def close(self) -> int | None:
        """Kills the child, and with a session of its own all that it started.

        Returns:
          Its exit code; None if no child was running.
        """
        if self._connection is not None:
            self._connection.close()
        process, self._process, self._connection = self._process, None, None
        if process is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_SECONDS)
        if self._own_session:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        return process.wait()


def run_child() -> None:
    """Answers the messages of a `Sandbox` until it hangs up. Runs in the child process."""
    scrub_tracebacks()
    format_last_resort()
    descriptor, target, limits = sys.argv[1:]
    threading.Thread(target=_end_with_parent, args=(int(descriptor),), daemon=True).start()
    module, _, function = target.partition(":")
    handler: Handler = getattr(importlib.import_module(module), function)()
    memory, cpu_seconds = json.loads(limits)
    _limit_memory(**memory)
    connection = Connection(int(descriptor))
    connection.send_bytes(_READY)
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        _allow_cpu(cpu_seconds)
        for answer in handler(message):
            connection.send_bytes(answer)
            _allow_cpu(cpu_seconds)


def _end_with_parent(descriptor: int) -> None:
    """Ends this process once the other end of its connection is closed, whatever it works on."""
    poll = select.poll()
    # No event is asked for: a hang-up is always reported, and messages are left alone.
    poll.register(descriptor, 0)
    poll.poll()
    os._exit(0)


def _limit_memory(private_bytes: int | None, added_bytes: int | None) -> None:
    import resource

    if private_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (private_bytes, private_bytes))
    if added_bytes is not None:
        # The kernel's count, in pages (proc(5)).
        with open("/proc/self/statm") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + added_bytes, mapped + added_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _allow_cpu(seconds: int | None) -> None:
    """Allows so much CPU time from now on; the kernel counts whole seconds."""
    if seconds is not None:
        import resource

        limit = math.ceil(time.process_time()) + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
