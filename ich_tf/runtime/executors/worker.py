"""A worker process, which answers messages one after the other and ends with its parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

from ich_tf.runtime.debugging import scrub_tracebacks, traceback_text
from ich_tf.runtime.executors.base import Item, Result, run_bundle
from ich_tf.runtime.logs import format_last_resort
from ich_tf.runtime.scrubbing import RemoteTraceback

# A process that died reports how in its exit code, which comes a moment after the hang-up.
_EXIT_SECONDS = 1.0


class WorkerDied(Exception):  # noqa: N818 - the process's end, which callers expect
    """The process ended before it answered.

    Attributes:
      code: Exit code; the negative number of the signal that killed it; None if it was ended by
        its owner.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__(f"a worker process ended (code {code})")
        self.code = code


class Worker:
    """A process, started on demand and again after its death; used by one thread at a time."""

    def __init__(self) -> None:
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._is_ended = False

    def send(self, message: bytes) -> None:
        """Sends work (`message_of`), which is done after that which was sent before.

        Raises:
          WorkerDied: If the worker was ended by `end`. A death is reported by `receive`.
          OSError: If no process can be started.
        """
        connection = self._start()
        # It may have died, as `receive` will notice.
        with contextlib.suppress(OSError):
            connection.send_bytes(message)

    def receive(self) -> list[Any]:
        """Waits for the results of the work that was sent first and is not answered yet.

        Raises:
          WorkerDied: If the process ended; all work that was sent to it is lost.
          Exception: What the function raised.
        """
        connection = self._connection
        if connection is None:
            raise WorkerDied(None)
        try:
            error, trace, results = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError) as hung_up:
            raise WorkerDied(self._bury()) from hung_up
        if error is not None:
            raise error from RemoteTraceback(trace)
        return list(results)

    def end(self) -> None:
        """Kills the process, and starts it no more; other threads may wait for its answer."""
        with self._lock:
            self._is_ended = True
            if self._process is not None:
                self._process.kill()

    def terminate(self) -> None:
        """Sends SIGTERM to the process, if there is one; may be called from a signal's handler."""
        process = self._process
        if process is not None and process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)

    def close(self) -> None:
        """Ends the process, and waits until it is gone."""
        self.end()
        self._bury()

    def _start(self) -> Connection:
        with self._lock:
            if self._is_ended:
                raise WorkerDied(None)
            if self._connection is None:
                context = multiprocessing.get_context("spawn")
                self._connection, theirs = context.Pipe()
                # Daemonic: Python ends it as it exits, should nobody else.
                self._process = context.Process(target=_run_child, args=(theirs,), daemon=True)
                with theirs, _without_interrupts():
                    self._process.start()
            return self._connection

    def _bury(self) -> int | None:
        """Frees what a process leaves that ended or is to end; returns its exit code."""
        with self._lock:
            process, self._process = self._process, None
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if process is None:
            return None
        process.join(_EXIT_SECONDS)
        process.kill()
        process.join()
        return process.exitcode


def message_of(function: Callable[[Item], Result], items: Sequence[Item]) -> bytes:
    """Message that tells a worker to work.

    Args:
      function: Function of a module.
      items: Its arguments, one a call.

    Raises:
      Exception: If they cannot be pickled.
    """
    return bytes(ForkingPickler.dumps((function, items)))


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Context in which children are born with SIGINT blocked.

    Ctrl-C reaches every process of a terminal, and would end those that are starting, with a
    traceback. The parent ends its workers.
    """
    # As it starts, it unblocks the signal.
    resource_tracker.ensure_running()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _run_child(connection: Connection) -> None:
    """Answers messages until the parent hangs up or dies. Runs in the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    scrub_tracebacks()
    format_last_resort()
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    # Beside the work: the parent's end is noticed in the middle of it, and its messages never wait.
    threading.Thread(target=_receive, args=(connection, messages), daemon=True).start()
    while True:
        answer = _answer(messages.get())
        try:
            connection.send_bytes(answer)
        except OSError:
            os._exit(0)


def _receive(connection: Connection, messages: queue.SimpleQueue[bytes]) -> None:
    try:
        while True:
            messages.put(connection.recv_bytes())
    except (EOFError, OSError):
        # At once, whatever the main thread does: nothing of a run outlives it.
        os._exit(0)


def _answer(message: bytes) -> bytes:
    """Error, its traceback and the results, pickled."""
    try:
        function, items = pickle.loads(message)
        return bytes(ForkingPickler.dumps((None, "", run_bundle(items, function))))
    # Whatever work raises is raised again by the parent.
    except Exception as error:
        trace = traceback_text(error)
        try:
            data = pickle.dumps((error, trace, []))
            pickle.loads(data)
        # Some errors cannot be pickled, or not be made again.
        except Exception:
            return pickle.dumps((RuntimeError(f"{type(error).__name__}: {error}"), trace, []))
        return data
