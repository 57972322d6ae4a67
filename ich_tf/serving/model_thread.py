"""The thread that owns the model: one thing at a time, what a person waits for first."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from ich_tf.serving.errors import Refused

Result = TypeVar("Result")
_URGENT, _LATER, _END = 0, 1, 2


class ModelThread:
    """Runs functions one after the other, urgent ones first and in between."""

    def __init__(self, most_urgent: int) -> None:
        """Starts the thread.

        Args:
          most_urgent: Urgent functions that may wait.
        """
        self._most_urgent = most_urgent
        self._number = itertools.count()
        self._waiting: queue.PriorityQueue[tuple[int, int, Callable[[], None]]] = (
            queue.PriorityQueue()
        )
        self._urgent = 0
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def later(self, function: Callable[[], Result]) -> Future[Result]:
        """Runs a function once nothing urgent waits."""
        return self._put(_LATER, function)

    def urgent(self, function: Callable[[], Result]) -> Future[Result]:
        """Runs a function before all that is not urgent.

        Raises:
          Refused: 503, if too many wait already.
        """
        with self._lock:
            if self._urgent >= self._most_urgent:
                raise Refused(
                    503,
                    "BUSY",
                    f"{self._most_urgent} heat maps wait already. Ask again in a second.",
                    retry_after=1,
                )
            self._urgent += 1

        future = self._put(_URGENT, function)
        future.add_done_callback(self._count_down)
        return future

    def run_urgent(self) -> None:
        """Runs what is urgent now; for functions that take long, on the thread itself."""
        while True:
            try:
                rank, number, function = self._waiting.get_nowait()
            except queue.Empty:
                return
            if rank != _URGENT:
                self._waiting.put((rank, number, function))
                return
            function()

    def close(self) -> None:
        """Ends the thread once it has done what it is doing; the rest is cancelled."""
        self._is_closed = True
        self._waiting.put((_END, next(self._number), lambda: None))
        self._thread.join()

    def _count_down(self, _: object) -> None:
        with self._lock:
            self._urgent -= 1

    def _put(self, rank: int, function: Callable[[], Result]) -> Future[Result]:
        future: Future[Result] = Future()

        def run() -> None:
            if self._is_closed:
                future.cancel()
            if not future.set_running_or_notify_cancel():
                return
            # Whatever it raises is the caller's to see.
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        self._waiting.put((rank, next(self._number), run))
        return future

    def _run(self) -> None:
        while True:
            rank, _, function = self._waiting.get()
            function()
            if rank == _END:
                return
